#!/usr/bin/env bash
# pytorch-widedeep 1.7.0, torch 2.13.0, torchmetrics 1.9.0, pandas 3.0.6, numpy 1.26.4, scikit-learn 1.9.1
#
# One would expect: a preprocessor that is fitted on train rows codes each row by those, whatever it comes with: fit,
# then transform, as the pages of its preprocessors have it. A cross of two columns has a value of its own for each pair
# (the page of WidePreprocessor: 1 if and only if the constituent features are all 1).
# What happens: (1) TabPreprocessor.fit with quantization_setup cuts no bins. The FIRST frame that goes through
# transform does, be it a batch of three rows, and later frames, the train rows too, are cut at its edges; outside of
# them the code is 0. After fit_transform all is right, since there the first frame is that of the train rows. (2) A
# cross joins the texts with "-" and nothing guards the border: ("en", "us-new") and ("en-us", "new") are one value.
# What it costs: (1) a model fitted and served by the two calls that one writes for train and valid rows gets numbers
# cut by who came first, with no error. (2) Pairs of hyphenated values (locales, segments, placements) share a weight,
# which no larger table cures.
# Instead: fit_transform the train rows before anything else and keep that object; hyphens out of crossed columns. In
# widedeep the cuts are made in one pass over the train rows and lie in the run; the members of a cross are hashed each.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 torchmetrics==1.9.0 pandas==3.0.6 numpy==1.26.4 scikit-learn==1.9.1 \
    scipy==1.17.1 tqdm==4.70.1 pyarrow==26.0.1
"$work/venv/bin/pip" install --quiet --no-deps pytorch-widedeep==1.7.0
"$work/venv/bin/python" - <<'PYTHON'
import importlib.machinery
import sys
import types
import warnings

import numpy as np
import pandas as pd

# Gigabytes of packages for images and texts are imported on the way and not used here: empty ones do.
unused = "torchvision transformers sentence_transformers sentencepiece gensim spacy cv2 einops wrapt fastparquet"

class Empty(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

class Finder:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in unused.split():
            return importlib.machinery.ModuleSpec(name, Finder, is_package=True)

    def create_module(spec):
        return Empty(spec.name)

    def exec_module(module):
        pass

sys.meta_path.insert(0, Finder)
from pytorch_widedeep import __version__
from pytorch_widedeep.preprocessing import TabPreprocessor, WidePreprocessor

warnings.simplefilter("ignore")
print("pytorch-widedeep", __version__, "pandas", pd.__version__)
train = pd.DataFrame({"age": np.linspace(0, 100, 1001)})
few, wide = pd.DataFrame({"age": [35.0, 30.0, 40.0]}), pd.DataFrame({"age": [35.0, 0.5, 99.5]})
codes = {}
print("ages of 0 to 100 in 10 bins; expected: 35 is in bin 4 each time")
for call in ("fit_transform", "fit"):
    for name, first in (("35, 30, 40", few), ("35, 0.5, 99.5", wide)):
        bins = TabPreprocessor(continuous_cols=["age"], quantization_setup=10, cols_to_scale=None)
        getattr(bins, call)(train)
        codes[call, name] = bins.transform(first)[:, 0].tolist()
        outside = int((bins.transform(train)[:, 0] == 0).sum())
        print(f"  {call}(train), transform({name}): {codes[call, name]}; then {outside} of 1001 train rows get code 0")
pairs = pd.DataFrame({"locale": ["en", "en-us", "de"], "segment": ["us-new", "new", "old"]})
crosses = WidePreprocessor(wide_cols=[], crossed_cols=[("locale", "segment")]).fit_transform(pairs)[:, 0].tolist()
print("crosses of three pairs (expected: three values):", crosses)
if codes["fit", "35, 30, 40"] == codes["fit_transform", "35, 30, 40"] or crosses[0] != crosses[1]:
    sys.exit("TabPreprocessor now cuts in fit, or WidePreprocessor now tells pairs apart.")
PYTHON
