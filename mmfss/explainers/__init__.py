"""Explainers: which support pixels caused a segmentation."""
from .ablation import FeatureAblation, Occlusion
from .affex import AffEx, MaskedAffEx, ReverseSignedAffEx, SignedAffEx, SmoothedAffEx
from .base import Explainer, Explanation
from .blur_ig import BlurIG
from .class_explainer import ClassExplainer
from .class_score import ClassScore, EncodedEpisode
from .contributions import Contributions
from .controls import GaussianNoiseControl, RandomControl
from .deep_lift import DeepLift
from .feature_controls import EncoderAffinity, PrototypeReadout
from .grad_cam import GradCAM
from .gradient_shap import GradientShap
from .guided_ig import GuidedIG
from .integrated_gradients import IntegratedGradients
from .lime import Lime
from .prototypes import PrototypeExplainer
from .region import REGIONS, EmptyRegionError, Region, select_region
from .saliency import Saliency
from .true_attribution import TrueAttribution, true_cell_attribution
from .xrai import XRAI

__all__ = [
    'AffEx', 'BlurIG', 'ClassExplainer', 'ClassScore', 'Contributions', 'DeepLift', 'EmptyRegionError',
    'EncodedEpisode', 'EncoderAffinity', 'Explainer', 'Explanation', 'FeatureAblation', 'GaussianNoiseControl',
    'GradCAM', 'GradientShap', 'GuidedIG', 'IntegratedGradients', 'Lime', 'MaskedAffEx', 'Occlusion',
    'PrototypeExplainer', 'PrototypeReadout', 'REGIONS', 'RandomControl', 'Region', 'ReverseSignedAffEx', 'Saliency',
    'SignedAffEx', 'SmoothedAffEx', 'TrueAttribution', 'XRAI', 'select_region', 'true_cell_attribution'
]
