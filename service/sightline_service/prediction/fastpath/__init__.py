"""Reads the fitted preprocessing once into arrays, and uses it only where it reproduces the pipeline.

Serving one row through a `ColumnTransformer` costs milliseconds of which the estimator is a tenth. Here the
fitted preprocessing is read into columns (`reading`, `ready`); a linear model is folded into one term per input
(`linear`), gradient boosting into a mask of leaves per input (`trees`), and any other estimator is called on the
ready matrix (`path`). It is verified against the pipeline before it serves (`agreement`).
"""
