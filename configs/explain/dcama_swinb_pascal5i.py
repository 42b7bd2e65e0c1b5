# 1-way 1-shot, all 20 classes; the paper explains the model of fold 0.
_base_ = ['../dcama/swinb_pascal5i_fold0.py', '../_base_/explain/affex_paper.py']

test_dataloader = dict(batch_size=1, dataset=dict(fold=None, sampler=dict(_delete_=True, **_base_.paper_sampler)))
test_cfg = dict(type='ExplanationLoop', explainers=_base_.paper_explainers, region='prediction')
test_evaluator = [*_base_.paper_losses, _base_.paper_top_percent]
