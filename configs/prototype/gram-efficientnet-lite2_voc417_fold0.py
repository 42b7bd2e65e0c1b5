_base_ = './efficientnet-lite2_voc417_fold0.py'

model = dict(head=dict(mode='gram'))
