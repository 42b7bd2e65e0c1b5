_base_ = [
    '../_base_/models/gfsam_dinov2-l.py', '../_base_/datasets/pascal5i_1024.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]
