"""Trains the model of iris.py while its image is built: python iris_train.py FILE"""

import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

measures, species = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=1000).fit(measures, species), sys.argv[1])
