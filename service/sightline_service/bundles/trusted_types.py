"""The types that a model may hold without a setting, beside those that skops trusts by itself.

They are pinned here, never read from a bundle. Each is harmless in whatever state a file gives it, or `structure`
checks that state. Distributions of scipy.stats are not among them: they run code that stands in their state.
"""

_COMPOSE = "sklearn.compose._column_transformer"
_SCORES = "sklearn.feature_selection"
_METRIC = "sklearn.metrics._dist_metrics"
_KERNEL = "sklearn.gaussian_process.kernels"

_PARTS = (
    "collections.OrderedDict",
    "functools.partial",  # histogram gradient boosting holds one of check_array; what else it may hold is checked too
    "numpy.dtype",
    # Of boosting; newer releases of skops trust them by themselves.
    *(
        f"sklearn._loss.link.{name}"
        for name in ("IdentityLink", "Interval", "LogLink", "LogitLink", "MultinomialLogit")
    ),
    *(
        f"sklearn._loss.loss.{name}"
        for name in (
            "AbsoluteError",
            "ExponentialLoss",
            "HalfBinomialLoss",
            "HalfGammaLoss",
            "HalfMultinomialLoss",
            "HalfPoissonLoss",
            "HalfSquaredError",
            "HalfTweedieLoss",
            "HalfTweedieLossIdentity",
            "HuberLoss",
            "PinballLoss",
        )
    ),
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.model_selection._classification_threshold._CurveScorer",  # up to scikit-learn 1.5
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    f"{_COMPOSE}._RemainderColsList",  # indices of columns, up to scikit-learn 1.6
    f"{_COMPOSE}.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.impute._iterative.IterativeImputer",  # skops knows it only where the experiment was enabled before
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "scipy.interpolate._bsplines.BSpline",
    *(f"{_METRIC}.{name}Distance64" for name in ("Euclidean", "Manhattan", "Chebyshev", "Minkowski")),
    *(
        f"{_KERNEL}.{name}"
        for name in (
            "CompoundKernel",
            "ConstantKernel",
            "DotProduct",
            "ExpSineSquared",
            "Exponentiation",
            "Hyperparameter",
            "Matern",
            "PairwiseKernel",
            "Product",
            "RBF",
            "RationalQuadratic",
            "Sum",
            "WhiteKernel",
        )
    ),
    *(
        f"sklearn.model_selection._split.{name}"
        for name in (
            "GroupKFold",
            "GroupShuffleSplit",
            "KFold",
            "LeaveOneGroupOut",
            "LeaveOneOut",
            "RepeatedKFold",
            "RepeatedStratifiedKFold",
            "ShuffleSplit",
            "StratifiedGroupKFold",
            "StratifiedKFold",
            "StratifiedShuffleSplit",
            "TimeSeriesSplit",
        )
    ),
)

_DTYPES = (
    # What make_column_selector selects by; of skops' own list they are missing because no array has them.
    "builtins.object",
    "numpy.character",
    "numpy.complexfloating",
    "numpy.flexible",
    "numpy.floating",
    "numpy.generic",
    "numpy.inexact",
    "numpy.integer",
    "numpy.number",
    "numpy.signedinteger",
    "numpy.unsignedinteger",
    "pandas.CategoricalDtype",
    "pandas.core.dtypes.dtypes.CategoricalDtype",
)

_FUNCTIONS = (
    "numpy.max",
    "numpy.mean",
    "numpy.median",
    "numpy.min",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",  # of a BSpline
    f"{_SCORES}._mutual_info.mutual_info_classif",
    f"{_SCORES}._mutual_info.mutual_info_regression",
    f"{_SCORES}._univariate_selection.chi2",
    f"{_SCORES}._univariate_selection.f_classif",
    f"{_SCORES}._univariate_selection.f_oneway",
    f"{_SCORES}._univariate_selection.f_regression",
    f"{_SCORES}._univariate_selection.r_regression",
    *(
        # What searches and thresholds were scored by; a served model does not call them.
        f"sklearn.metrics._{name}"
        for name in (
            "classification.accuracy_score",
            "classification.balanced_accuracy_score",
            "classification.brier_score_loss",
            "classification.cohen_kappa_score",
            "classification.f1_score",
            "classification.fbeta_score",
            "classification.jaccard_score",
            "classification.log_loss",
            "classification.matthews_corrcoef",
            "classification.precision_score",
            "classification.recall_score",
            "ranking.average_precision_score",
            "ranking.roc_auc_score",
            "ranking.top_k_accuracy_score",
            "regression.explained_variance_score",
            "regression.max_error",
            "regression.mean_absolute_error",
            "regression.mean_absolute_percentage_error",
            "regression.mean_gamma_deviance",
            "regression.mean_pinball_loss",
            "regression.mean_poisson_deviance",
            "regression.mean_squared_error",
            "regression.mean_squared_log_error",
            "regression.mean_tweedie_deviance",
            "regression.median_absolute_error",
            "regression.r2_score",
            "regression.root_mean_squared_error",
            "regression.root_mean_squared_log_error",
        )
    ),
    "sklearn.utils.validation.check_array",
)

TRUSTED_TYPES = (*_PARTS, *_DTYPES, *_FUNCTIONS)
"""Names of types and functions, as skops writes them."""
