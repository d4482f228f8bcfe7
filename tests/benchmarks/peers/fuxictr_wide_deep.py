"""FuxiCTR's WideDeep from CSV to scores, as its documentation goes: fuxictr_wide_deep.py TRAIN TEST OUT.

The package brings the layers; the model itself lies in its repository, and is put together here from those layers in the
same way. Its training needs rows to validate on, for which the test rows do.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import ray
from fuxictr.features import FeatureMap
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import FeatureEmbedding, LogisticRegression, MLP_Block
from fuxictr.pytorch.models import BaseModel

train_path, test_path, out_path = sys.argv[1:]
EMBEDDING_DIM = 16


class WideDeep(BaseModel):
    def __init__(self, feature_map, learning_rate, **params):
        super().__init__(feature_map, model_id="WideDeep", **params)
        self.embedding_layer = FeatureEmbedding(feature_map, EMBEDDING_DIM)
        self.lr_layer = LogisticRegression(feature_map, use_bias=False)
        self.dnn = MLP_Block(
            input_dim=EMBEDDING_DIM * feature_map.num_fields,
            output_dim=1,
            hidden_units=[400, 400, 400],
            hidden_activations="ReLU",
            output_activation=None,
        )
        self.compile("adam", "binary_crossentropy", learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        X = self.get_inputs(inputs)
        logit = self.lr_layer(X) + self.dnn(self.embedding_layer(X).flatten(start_dim=1))
        return {"y_pred": self.output_activation(logit)}


def main() -> None:
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    with tempfile.TemporaryDirectory(dir=Path(out_path).parent) as root:
        numbers = [f"I{number}" for number in range(1, 14)]
        categories = [f"C{number}" for number in range(1, 27)]
        features = [
            {"name": numbers, "active": True, "dtype": "float", "type": "numeric", "normalizer": "MinMaxScaler"},
            {"name": categories, "active": True, "dtype": "str", "type": "categorical"},
        ]
        label = {"name": "label", "active": True, "dtype": "float"}
        encoder = FeatureProcessor(features, label, dataset_id="log", data_root=root)
        train, valid, test = build_dataset(encoder, train_data=train_path, valid_data=test_path, test_data=test_path)
        feature_map = FeatureMap("log", encoder.data_dir)
        feature_map.load(encoder.json_file, {})
        model = WideDeep(feature_map, learning_rate=1e-3, verbose=0, model_root=root, metrics=["AUC"], monitor="AUC")
        loading = {"batch_size": 4096, "data_format": "parquet"}
        train_rows, valid_rows = RankDataLoader(
            feature_map, stage="train", train_data=train, valid_data=valid, shuffle=True, **loading
        )
        model.fit(train_rows, validation_data=valid_rows, epochs=1)
        test_rows = RankDataLoader(feature_map, stage="test", test_data=test, shuffle=False, **loading)
        scores = model.predict(test_rows)
    np.save(out_path, scores)
    print(json.dumps({"rows": len(scores)}))


if __name__ == "__main__":
    main()
