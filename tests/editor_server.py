"""Asks a real editor server what it says of a recipe: run by hand, needs Node.js and `npm install yaml-language-server`.

    python tests/editor_server.py node_modules/.bin/yaml-language-server

It gives up after a minute. It opens a recipe whose first line names the schema, as `init` writes it, asks for completion and for help at three
places, and for what is wrong with a misspelt key. Every answer is printed, and one that is not right ends it with 1.
"""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from widedeep.api.recipes import schema_line

RECIPE = """\
data:
  train: log.csv
  label: {column: click, kind: binary}
  split: {kind: random}
features:
  numeric: [age]
  categorical: [city, {column: device, buckets: 100}]
crosses: [[city, device]]
model:
  kind: wide_deep
  deep:
    hidden: [64, 32]
training:
  epocs: 3
  deep: {learning_rate: 0.001}
"""


class EditorServer:
    """The server as a child process that answers requests of the Language Server Protocol on its pipes."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen([command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._number = 0
        self.told: list[dict[str, Any]] = []
        """What the server said unasked, such as diagnostics."""

    def notify(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            message = self.next_message()
            if message.get("id") == self._number and "method" not in message:
                return message.get("result", message.get("error"))

    def next_message(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        length = 0
        while (line := stream.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(stream.read(length))
        if "method" in message and "id" in message:  # the server asks for settings: it has its defaults
            items = message["params"].get("items", []) if message["method"] == "workspace/configuration" else []
            self._send({"id": message["id"], "result": [None for _ in items] or None})
        elif "method" in message:
            self.told.append(message)
        return message

    def diagnostics(self, uri: str, expected: str) -> str:
        """What the server finds wrong with a file, once that holds `expected`; nothing at all for an empty text.

        The server tells it anew after each change, and late: what it says of texts before the last is passed over.
        """
        while True:
            for message in self.told:
                if message["method"] == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                    found = "; ".join(
                        f"line {one['range']['start']['line'] + 1}: {one['message']}"
                        for one in message["params"]["diagnostics"]
                    )
                    if bool(expected) == bool(found) and expected in found:
                        self.told.clear()
                        return found
            self.told.clear()
            self.next_message()

    def stop(self) -> None:
        self.ask("shutdown")
        self.notify("exit")
        self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        self._process.stdin.flush()


class Editor:
    """A recipe that is open in an editor, and typed into."""

    def __init__(self, server: EditorServer, path: Path) -> None:
        self._server, self.uri, self._version = server, path.as_uri(), 1
        self.text = path.read_text()
        document = {"uri": self.uri, "languageId": "yaml", "version": 1, "text": self.text}
        server.notify("textDocument/didOpen", textDocument=document)

    def replace(self, old: str, new: str) -> None:
        assert self.text.count(old) == 1, old
        self._write(self.text.replace(old, new))

    def completions(self, after: str, typed: str) -> list[str]:
        """What is offered once `typed` stands behind the text `after`, which then goes again."""
        before = self.text
        start = before.index(after) + len(after)
        self._write(before[:start] + typed + "\n" + before[start:])
        answer = self._server.ask("textDocument/completion", **self._at(start + len(typed)))
        self._write(before)
        return [item["label"] for item in (answer["items"] if isinstance(answer, dict) else answer)]

    def hover(self, word: str) -> str:
        answer = self._server.ask("textDocument/hover", **self._at(self.text.index(word) + 1))
        text: str = answer["contents"]["value"] if answer else ""
        return text

    def _write(self, text: str) -> None:
        self.text, self._version = text, self._version + 1
        self._server.notify(
            "textDocument/didChange",
            textDocument={"uri": self.uri, "version": self._version},
            contentChanges=[{"text": text}],
        )

    def _at(self, offset: int) -> dict[str, Any]:
        above, _, line = self.text[:offset].rpartition("\n")
        place = {"line": above.count("\n") + bool(above), "character": len(line)}
        return {"textDocument": {"uri": self.uri}, "position": place}


def main(command: str) -> int:
    """Print what the server says; 1 if any of it is not right."""
    wrong = 0

    def show(title: str, said: str, *expected: str) -> None:
        nonlocal wrong
        right = all(text in said for text in expected)
        wrong += not right
        print(f"{'ok   ' if right else 'WRONG'} {title}\n        {' '.join(said.split())}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.yaml"
        path.write_text(f"{schema_line()}\n{RECIPE}")
        server = EditorServer(command)
        root = Path(folder).as_uri()
        started = server.ask("initialize", processId=None, rootUri=root, capabilities={}, workspaceFolders=None)
        print(started.get("serverInfo", "the server does not say its version"))
        server.notify("initialized")
        editor = Editor(server, path)
        found = server.diagnostics(editor.uri, "epocs")
        show("diagnostic for `epocs:` in training", found, "line 15", "epocs")

        editor.replace("epocs", "epochs")
        show("no diagnostic once it is `epochs:`", server.diagnostics(editor.uri, "") or "(none)")

        offered = editor.completions("  label: {column: click, kind: binary}\n", "  g")
        show("completion of a key in data", ", ".join(offered), "group", "weight", "time")
        offered = editor.completions("kind: wide_deep", "\n  dcn")
        show("completion of a section in model", ", ".join(offered), "dcn_v2", "finalmlp", "embeddings")
        offered = editor.completions("deep: {learning_rate: 0.001", ", optimizer: ")
        show("completion of a value: training.deep.optimizer", ", ".join(offered), "adagrad", "adamw", "sgd")
        offered = editor.completions("  epochs: 3\n", "  early_stopping:\n    metric: ")
        show("completion of a value: early_stopping.metric", ", ".join(offered), "log_loss", "auc")

        show("help at training.epochs", editor.hover("epochs: 3"), "Most passes over the train rows")
        show("help at features.categorical.1.buckets", editor.hover("buckets"), "Hash into this many buckets")
        show("help at data.split", editor.hover("split"), "Rows drawn at random")
        for old, new, told in (
            ("kind: binary", "kind: binry", '"binary", "regression"'),
            ("split: {kind: random}", "split: {kind: radnom}", '"random" | "time" | "key" | "column"'),
            ("hidden: [64, 32]", "hidden: [64, wide]", 'Expected "integer"'),
            ("categorical: [city,", "categorical: ['*',", "rename the column"),
        ):
            editor.replace(old, new)
            show(f"diagnostic for `{new}`", server.diagnostics(editor.uri, told), told)
            editor.replace(new, old)
            server.diagnostics(editor.uri, "")
        server.stop()
    return min(wrong, 1)


if __name__ == "__main__":
    signal.alarm(60)
    sys.exit(main(sys.argv[1]))
