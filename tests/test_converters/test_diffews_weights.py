"""Conversion of folders in diffusers' layout, and the text encoder."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.utils.checkpoint import CheckpointError, load_model_checkpoint
from mmfss.utils.diffusers_files import WEIGHTS, modern_names
from tests.tiny.diffews import UNET, VAE, build_diffews

diffusers = pytest.importorskip('diffusers', reason='DiffewS needs diffusers')

from mmfss.commands.model_converters.diffews import main  # noqa: E402
from mmfss.converters.clip_text import embed_tokens  # noqa: E402
from mmfss.converters.diffews_weights import convert_diffews  # noqa: E402

TEXT = dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, hidden_act='gelu',
            layer_norm_eps=1e-5)


def text_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    width, inner = 32, 48
    shapes = {'embeddings.token_embedding.weight': (49408, width), 'embeddings.position_embedding.weight': (77, width)}
    for layer in range(2):
        prefix = f'encoder.layers.{layer}.'
        for name in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
            shapes[f'{prefix}self_attn.{name}.weight'] = (width, width)
        shapes.update({f'{prefix}mlp.fc1.weight': (inner, width), f'{prefix}mlp.fc2.weight': (width, inner),
                       f'{prefix}layer_norm1.weight': (width, ), f'{prefix}layer_norm2.weight': (width, )})
    shapes['final_layer_norm.weight'] = (width, )
    shapes.update({name.replace('.weight', '.bias'): shape[:1] for name, shape in list(shapes.items())
                   if not name.startswith('embeddings')})
    return {f'text_model.{name}': torch.randn(shape, generator=generator) / shape[-1]**0.5
            for name, shape in shapes.items()}


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of Stable Diffusion, with random weights: UNet without ``conv_in_ref``."""
    root = tmp_path_factory.mktemp('sd')
    torch.manual_seed(0)
    diffusers.UNet2DConditionModel(**UNET).save_pretrained(root / 'unet')
    diffusers.AutoencoderKL(**VAE).save_pretrained(root / 'vae')
    (root / 'text_encoder').mkdir()
    (root / 'text_encoder' / 'config.json').write_text(json.dumps(TEXT))
    torch.save(text_weights(), root / 'text_encoder' / 'pytorch_model.bin')
    return root


def test_plain_stable_diffusion(base: Path) -> None:
    weights, meta = convert_diffews(base)
    model = build_diffews(text_tokens=(77, 2))
    assert set(weights) == set(model.state_dict()) and meta['conv_in_ref'] == 'made of conv_in'
    conv = weights['unet.conv_in.weight']
    assert torch.equal(weights['unet.conv_in_ref.weight'], torch.cat((conv, conv), 1) / 2)
    assert torch.equal(weights['unet.conv_in_ref.bias'], weights['unet.conv_in.bias'])


@pytest.mark.parametrize('nesting', ['', 'unet', 'unet/unet'])
def test_published_folders(base: Path, tmp_path: Path, nesting: str) -> None:
    model = build_diffews()
    model.unet.save_pretrained(tmp_path / nesting)
    if nesting:  # as older files
        torch.save(model.unet.state_dict(), tmp_path / nesting / WEIGHTS[1])
        (tmp_path / nesting / WEIGHTS[0]).unlink()
    weights, meta = convert_diffews(base, tmp_path)
    assert meta['conv_in_ref'] == 'read' and meta['unet'] == (tmp_path / nesting).as_posix()
    assert all(torch.equal(weights[f'unet.{name}'], x) for name, x in model.unet.state_dict().items())


def test_command(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    np.save(tmp_path / 'text.npy', np.ones((77, 32), np.float32))
    arguments = [base, tmp_path / 'out.pth', '--text-embed', tmp_path / 'text.npy']
    monkeypatch.setattr(sys, 'argv', ['diffews2mmfss.py', *map(str, arguments)])
    main()
    assert 'conv_in_ref made of conv_in, text_embed text.npy' in capsys.readouterr().out
    model = build_diffews(text_tokens=(77, 2))
    load_model_checkpoint(model, tmp_path / 'out.pth')
    assert model.text_embed.shape == (1, 77, 32) and bool((model.text_embed == 1).all())


class TestErrors:

    def test_no_unet(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match='No UNet in .* in unet or in unet/unet'):
            convert_diffews(base, tmp_path)

    def test_a_finetuned_unet_without_reference(self, base: Path) -> None:
        with pytest.raises(CheckpointError, match='has no conv_in_ref'):
            convert_diffews(base, base / 'unet')

    def test_other_names(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / 'config.json').write_text((base / 'unet' / 'config.json').read_text())
        torch.save({'conv.weight': torch.zeros(1)}, tmp_path / WEIGHTS[1])
        with pytest.raises(CheckpointError, match='not those of its config.json: .* missing, first conv_in'):
            convert_diffews(base, tmp_path)

    def test_a_pickle_with_code(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / 'config.json').write_text((base / 'unet' / 'config.json').read_text())
        torch.save(nn.Linear(1, 1), tmp_path / WEIGHTS[1])
        with pytest.raises(CheckpointError, match='can run any code'):
            convert_diffews(base, tmp_path)

    def test_text_of_another_width(self, base: Path, tmp_path: Path) -> None:
        np.save(tmp_path / 'text.npy', np.ones((77, 16), np.float32))
        with pytest.raises(ValueError, match='width 32'):
            convert_diffews(base, text_embed=tmp_path / 'text.npy')


class TestTextEncoder:

    def test_equals_torchs_transformer(self) -> None:
        weights, tokens = text_weights(), [49406, 49407, 0, 0, 0]
        plain = {name.removeprefix('text_model.'): x for name, x in weights.items()}
        token, position = (plain[f'embeddings.{name}_embedding.weight'] for name in ('token', 'position'))
        x = (token[tokens] + position[:5])[None]
        for number in range(2):
            layer = nn.TransformerEncoderLayer(32, 4, 48, 0., F.gelu, batch_first=True, norm_first=True).eval()
            names = {name.removeprefix(f'encoder.layers.{number}.'): x for name, x in plain.items()}
            own = dict(
                {f'self_attn.in_proj_{kind}': torch.cat([names[f'self_attn.{p}_proj.{kind}'] for p in 'qkv'])
                 for kind in ('weight', 'bias')})
            for new, old in (('self_attn.out_proj', 'self_attn.out_proj'), ('linear1', 'mlp.fc1'),
                             ('linear2', 'mlp.fc2'), ('norm1', 'layer_norm1'), ('norm2', 'layer_norm2')):
                own.update({f'{new}.{kind}': names[f'{old}.{kind}'] for kind in ('weight', 'bias')})
            layer.load_state_dict(own)
            with torch.no_grad():
                x = layer(x, src_mask=nn.Transformer.generate_square_subsequent_mask(5), is_causal=True)
        expected = F.layer_norm(x, (32, ), plain['final_layer_norm.weight'], plain['final_layer_norm.bias'])
        assert torch.allclose(embed_tokens(TEXT, weights, tokens), expected, atol=1e-5)

    def test_padding_does_not_change_what_is_before_it(self) -> None:
        weights = text_weights()
        padded = embed_tokens(TEXT, weights, [49406, 49407, 0, 0])
        assert torch.allclose(padded[:, :2], embed_tokens(TEXT, weights, [49406, 49407]), atol=1e-6)

    def test_errors(self) -> None:
        with pytest.raises(CheckpointError, match="activation 'relu'"):
            embed_tokens(dict(TEXT, hidden_act='relu'), text_weights(), [0])
        with pytest.raises(CheckpointError, match='final_layer_norm.weight.*not a CLIPTextModel'):
            weights = {name: x for name, x in text_weights().items() if 'final' not in name}
            embed_tokens(TEXT, weights, [0])


def test_names_of_early_files() -> None:
    old = {'encoder.mid_block.attentions.0.query.weight': torch.ones(4, 4, 1, 1),
           'encoder.mid_block.attentions.0.proj_attn.bias': torch.ones(4),
           'encoder.conv_in.weight': torch.ones(4, 3, 3, 3)}
    new = modern_names(old)
    assert {name: tuple(x.shape) for name, x in new.items()} == {
        'encoder.mid_block.attentions.0.to_q.weight': (4, 4), 'encoder.mid_block.attentions.0.to_out.0.bias': (4, ),
        'encoder.conv_in.weight': (4, 3, 3, 3)}
