"""Registries of mmfss.

Every node is a child of the MMSegmentation node of the same name, so a config may name an MMSegmentation type without
prefix (``type='FCNHead'``), an MMPretrain type by scope (``type='mmpretrain.SwinTransformer'``) and a type of this
package by its plain name. ``EXPLAINERS`` exists here only.
"""
import importlib

from mmengine.registry import INFERENCERS as MMENGINE_INFERENCERS
from mmengine.registry import DefaultScope, Registry
from mmseg import registry as mmseg_registry

SCOPE = 'mmfss'


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[f'mmfss.{place}' for place in locations])


RUNNERS = _child(mmseg_registry.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child(mmseg_registry.RUNNER_CONSTRUCTORS, 'engine')
LOOPS = _child(mmseg_registry.LOOPS, 'engine', 'explanation', 'prototypes')
HOOKS = _child(mmseg_registry.HOOKS, 'engine', 'prototypes')
OPTIMIZERS = _child(mmseg_registry.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child(mmseg_registry.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmseg_registry.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
PARAM_SCHEDULERS = _child(mmseg_registry.PARAM_SCHEDULERS, 'engine')

DATASETS = _child(mmseg_registry.DATASETS, 'datasets')
DATA_SAMPLERS = _child(mmseg_registry.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(mmseg_registry.TRANSFORMS, 'datasets')

MODELS = _child(mmseg_registry.MODELS, 'models')
MODEL_WRAPPERS = _child(mmseg_registry.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child(mmseg_registry.WEIGHT_INITIALIZERS, 'models')
TASK_UTILS = _child(mmseg_registry.TASK_UTILS, 'datasets', 'models')

METRICS = _child(mmseg_registry.METRICS, 'evaluation')
EVALUATOR = _child(mmseg_registry.EVALUATOR, 'evaluation')

VISUALIZERS = _child(mmseg_registry.VISUALIZERS, 'visualization')
VISBACKENDS = _child(mmseg_registry.VISBACKENDS, 'visualization')
LOG_PROCESSORS = _child(mmseg_registry.LOG_PROCESSORS, 'visualization')
INFERENCERS = _child(MMENGINE_INFERENCERS, 'apis')

EXPLAINERS = Registry('explainer', scope=SCOPE, locations=['mmfss.explainers'])


def register_all_modules(init_default_scope: bool = False) -> None:
    """Import every module of this package and of MMSegmentation that registers something.

    Looking up a parent's type from a child registry does not import the parent's modules: this function does.

    Args:
        init_default_scope (bool): Also make ``mmfss`` the current default scope, for use outside a Runner.
    """
    for package in ('mmseg.datasets', 'mmseg.engine', 'mmseg.evaluation', 'mmseg.models', 'mmseg.visualization',
                    'mmfss.datasets', 'mmfss.engine', 'mmfss.evaluation', 'mmfss.explainers',
                    'mmfss.explanation', 'mmfss.models', 'mmfss.prototypes',
                    'mmfss.visualization'):
        importlib.import_module(package)
    if init_default_scope:
        current = DefaultScope.get_current_instance()
        if current is None or current.scope_name != SCOPE:
            DefaultScope.get_instance(f'mmfss-{id(current)}', scope_name=SCOPE)
