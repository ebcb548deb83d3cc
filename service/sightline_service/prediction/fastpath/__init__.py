"""The fitted preprocessing read once into arrays, and used only where it reproduces the pipeline.

Serving one row through a `ColumnTransformer` costs milliseconds of which the estimator is a tenth. Here the
fitted preprocessing is read into columns (`reading`, `ready`); a linear model is folded into a term an input
(`linear`), gradient boosting into a mask of leaves an input (`trees`), and any other estimator is called on the
ready matrix (`path`). What is read is tried against the pipeline before it serves (`trial`).
"""
