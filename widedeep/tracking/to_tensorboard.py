"""Event files of TensorBoard, by its own messages and records, without TensorFlow and torch."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.text import metadata as texts
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from widedeep.files import replacing_file, writing
from widedeep.locks import locked
from widedeep.tracking.replay import Replay

_PNG_SIZE = slice(16, 24)
_RGBA = 4
_LOCK = ".widedeep.lock"


def write_tensorboard(replay: Replay, folder: Path) -> Path:
    """Write the run as one event file, which replaces the one of an earlier time, and give its folder.

    The same run gives the same bytes. Raises WriteError.
    """
    content = io.BytesIO()
    records = RecordWriter(content)
    for event in _events(replay):
        records.write(event.SerializeToString(deterministic=True))
    of_run = folder / replay.recipe / replay.name
    path = of_run / f"events.out.tfevents.{int(replay.started):010d}.widedeep"
    with writing(path):
        of_run.mkdir(parents=True, exist_ok=True)
    # Two commands that write the same run would both add to its file what it lacks.
    with locked(of_run, of_run / _LOCK, "", wait=True, note=lambda _: None, keep=False):
        with writing(path):
            before = path.read_bytes() if path.exists() else b""
            if content.getvalue().startswith(before) and before:
                # TensorBoard may be reading the file of a run under way: it sees what is added to it.
                with path.open("ab") as file:
                    file.write(content.getvalue()[len(before) :])
                return of_run
        with replacing_file(path) as temporary:
            temporary.write_bytes(content.getvalue())
    return of_run


def _events(replay: Replay) -> Iterator[event_pb2.Event]:
    yield event_pb2.Event(wall_time=replay.started, file_version="brain.Event:2")
    yield event_pb2.Event(wall_time=replay.started, summary=_settings(replay))
    text = "".join(f"    {line}\n" for line in replay.recipe_text.splitlines())  # Markdown of a block of code
    yield _event(replay.started, 0, _text("recipe", text))
    for point in replay.points:
        yield _event(point.time, point.step, summary_pb2.Summary.Value(tag=point.series, simple_value=point.value))
    for name, value in replay.figures.items():
        yield _event(replay.ended, replay.best_epoch, summary_pb2.Summary.Value(tag=name, simple_value=value))
    for name, png in replay.pictures.items():
        width, height = struct.unpack(">II", png[_PNG_SIZE])
        image = summary_pb2.Summary.Image(width=width, height=height, colorspace=_RGBA, encoded_image_string=png)
        yield _event(replay.ended, replay.best_epoch, summary_pb2.Summary.Value(tag=f"pictures/{name}", image=image))


def _settings(replay: Replay) -> summary_pb2.Summary:
    summary = hparams.hparams_pb(dict(replay.settings), trial_id=replay.name, start_time_secs=replay.started)
    for value in summary.value:
        # The settings lie in it as bytes already, in an order that differs from process to process.
        data = value.metadata.plugin_data
        data.content = HParamsPluginData.FromString(data.content).SerializeToString(deterministic=True)
    return summary


def _event(time: float, step: int, value: summary_pb2.Summary.Value) -> event_pb2.Event:
    return event_pb2.Event(wall_time=time, step=step, summary=summary_pb2.Summary(value=[value]))


def _text(tag: str, text: str) -> summary_pb2.Summary.Value:
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=texts.create_summary_metadata(display_name="", description=""),
        tensor=tensor_util.make_tensor_proto(text),
    )
