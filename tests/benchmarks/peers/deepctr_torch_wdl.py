"""DeepCTR-Torch's WDL from CSV to scores, as its documentation's Criteo example goes: deepctr_torch_wdl.py TRAIN TEST OUT."""

import json
import sys

import numpy as np
import pandas as pd
from deepctr_torch.inputs import DenseFeat, SparseFeat, get_feature_names
from deepctr_torch.models import WDL
from sklearn.preprocessing import LabelEncoder, MinMaxScaler

train_path, test_path, out_path = sys.argv[1:]
sparse_features = [f"C{number}" for number in range(1, 27)]
dense_features = [f"I{number}" for number in range(1, 14)]
train, test = pd.read_csv(train_path), pd.read_csv(test_path)
data = pd.concat([train, test], ignore_index=True)
data[sparse_features] = data[sparse_features].fillna("-1")
data[dense_features] = data[dense_features].fillna(0)
for name in sparse_features:
    data[name] = LabelEncoder().fit_transform(data[name].astype(str))
data[dense_features] = MinMaxScaler(feature_range=(0, 1)).fit_transform(data[dense_features])

columns = [SparseFeat(name, vocabulary_size=data[name].nunique(), embedding_dim=16) for name in sparse_features]
columns += [DenseFeat(name, 1) for name in dense_features]
names = get_feature_names(columns)
train, test = data.iloc[: len(train)], data.iloc[len(train) :]

model = WDL(columns, columns, dnn_hidden_units=(400, 400, 400), task="binary", device="cpu")
model.compile("adam", "binary_crossentropy", metrics=[])
model.fit({name: train[name] for name in names}, train["label"].values, batch_size=4096, epochs=1, verbose=0)
scores = model.predict({name: test[name] for name in names}, batch_size=4096)
np.save(out_path, scores.reshape(-1))
print(json.dumps({"rows": len(scores)}))
