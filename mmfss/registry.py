"""Registries of mmfss.

Every node is a child of the MMSegmentation node of the same name, so a config may name an MMSegmentation type without
prefix (``type='FCNHead'``), an MMPretrain type by scope (``type='mmpretrain.SwinTransformer'``) and a type of this
package by its plain name. ``EXPLAINERS`` exists here only.

A node imports its locations when it is first asked for a type. Those of its parent are among them: MMEngine does not
import them when it looks a type up from a child.
"""
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import INFERENCERS as MMENGINE_INFERENCERS
from mmengine.registry import DefaultScope, Registry
from mmseg import registry as mmseg_registry

SCOPE = 'mmfss'


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


RUNNERS = _child(mmseg_registry.RUNNERS, 'mmfss.engine')
RUNNER_CONSTRUCTORS = _child(mmseg_registry.RUNNER_CONSTRUCTORS, 'mmfss.engine')
LOOPS = _child(mmseg_registry.LOOPS, 'mmfss.engine', 'mmfss.explanation', 'mmfss.prototypes')
HOOKS = _child(mmseg_registry.HOOKS, 'mmseg.engine', 'mmfss.engine', 'mmfss.prototypes')
OPTIMIZERS = _child(mmseg_registry.OPTIMIZERS, 'mmseg.engine', 'mmfss.engine')
OPTIM_WRAPPERS = _child(mmseg_registry.OPTIM_WRAPPERS, 'mmseg.engine', 'mmfss.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmseg_registry.OPTIM_WRAPPER_CONSTRUCTORS, 'mmseg.engine', 'mmfss.engine')
PARAM_SCHEDULERS = _child(mmseg_registry.PARAM_SCHEDULERS, 'mmseg.engine', 'mmfss.engine')

DATASETS = _child(mmseg_registry.DATASETS, 'mmseg.datasets', 'mmfss.datasets')
DATA_SAMPLERS = _child(mmseg_registry.DATA_SAMPLERS, 'mmseg.datasets', 'mmfss.datasets')
TRANSFORMS = _child(mmseg_registry.TRANSFORMS, 'mmseg.datasets', 'mmfss.datasets')
FUNCTIONS = _child(MMENGINE_FUNCTIONS, 'mmfss.datasets')

MODELS = _child(mmseg_registry.MODELS, 'mmseg.models', 'mmfss.models')
MODEL_WRAPPERS = _child(mmseg_registry.MODEL_WRAPPERS, 'mmseg.models', 'mmfss.models')
WEIGHT_INITIALIZERS = _child(mmseg_registry.WEIGHT_INITIALIZERS, 'mmseg.models', 'mmfss.models')
TASK_UTILS = _child(mmseg_registry.TASK_UTILS, 'mmseg.models', 'mmfss.datasets', 'mmfss.models')

METRICS = _child(mmseg_registry.METRICS, 'mmseg.evaluation', 'mmfss.evaluation')
EVALUATOR = _child(mmseg_registry.EVALUATOR, 'mmseg.evaluation', 'mmfss.evaluation')

VISUALIZERS = _child(mmseg_registry.VISUALIZERS, 'mmseg.visualization', 'mmfss.visualization')
VISBACKENDS = _child(mmseg_registry.VISBACKENDS, 'mmseg.visualization', 'mmfss.visualization')
LOG_PROCESSORS = _child(mmseg_registry.LOG_PROCESSORS, 'mmfss.visualization')
INFERENCERS = _child(MMENGINE_INFERENCERS, 'mmfss.apis')

EXPLAINERS = Registry('explainer', scope=SCOPE, locations=['mmfss.explainers'])


def register_all_modules(init_default_scope: bool = False) -> None:
    """Import every module of this package and of MMSegmentation that registers something.

    The registries do so themselves when they are asked for a type; this function is for programs that want all at once.

    Args:
        init_default_scope (bool): Also make ``mmfss`` the current default scope, for use outside a Runner.
    """
    for node in [value for value in globals().values() if isinstance(value, Registry) and value.scope == SCOPE]:
        node.import_from_location()
    if init_default_scope:
        current = DefaultScope.get_current_instance()
        if current is None or current.scope_name != SCOPE:
            DefaultScope.get_instance(f'mmfss-{id(current)}', scope_name=SCOPE)
