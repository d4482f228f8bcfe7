"""The front door for Python: what `import widedeep` gives, and what the commands call too.

Nothing is printed: pass a `reporter` to get notes, warnings and progress. Faults of input are errors of
`widedeep.errors`, whose text is the whole message. torch is imported when a model is trained or scored with.

A recipe, a run, scores, on a sample log:

>>> from pathlib import Path
>>> import polars as pl
>>> import widedeep as wd
>>> from widedeep.synth.sample_log import write_sample_log
>>> Path("sample").mkdir()
>>> log = write_sample_log(Path("sample"), rows=1000, seed=1, reporter=wd.Reporter())
>>> recipe = wd.load_recipe("sample/recipe.yaml", set=["training.epochs=1"])
>>> run = wd.train(recipe)
>>> sorted(run.metrics)
['test', 'valid']
>>> rows = pl.read_csv("sample/log.csv").head(5)
>>> run.predict(rows, keep="user").columns
['user', 'score']
>>> wd.open_run("runs/sample/latest").path == run.path
True
"""
