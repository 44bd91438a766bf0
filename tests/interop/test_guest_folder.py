"""What a folder says and transformers passes over is refused by name; what changes nothing is not."""

import json

import pytest
import torch
from guests import CONFIGS, make_tokenizer, save_guest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, GPTJConfig

from alibi.interop import open_guest
from alibi.interop.guest_folder import ignored_settings

DECODER = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 300}
CONFIGS = CONFIGS | {
    "bert": BertConfig(**DECODER, intermediate_size=48, is_decoder=True),
    "gptj": GPTJConfig(n_embd=48, n_layer=1, n_head=4, rotary_dim=4, vocab_size=300),
}
MPT = {
    "attn_config": {
        "alibi": True, "alibi_bias_max": 8, "attn_impl": "triton", "attn_pdrop": 0, "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False, "clip_qkv": None, "prefix_lm": False, "qk_ln": False, "softmax_scale": None,
    },
    "auto_map": {"AutoModelForCausalLM": "modeling_mpt.MPTForCausalLM"}, "init_device": "meta", "verbose": 0,
    "init_config": {"init_div_is_residual": True, "init_std": 0.02, "name": "kaiming_normal_"}, "no_bias": True,
    "ffn_config": {"ffn_type": "mptmlp", "fc_type": "torch"}, "learned_pos_emb": False, "norm_type": "layernorm",
}  # fmt: skip
# As such files are on the hub: by other libraries, by older releases, with notes of training.
ORDINARY = {
    "mpt-8": MPT,
    "bloom": {
        "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "masked_softmax_fusion": True,
        "offset_alibi": 100, "seq_length": 2048, "skip_bias_add": True, "slow_but_exact": False, "n_inner": None,
    },
    "gptj": {"rotary": True, "scale_attn_weights": True, "summary_activation": None, "gradient_checkpointing": False},
    "mamba": {"fused_add_norm": True, "rms_norm": True, "rescale_prenorm_residual": True, "ssm_cfg": {}},
    "bert": {"position_embedding_type": "absolute", "directionality": "bidi", "pooler_fc_size": 768},
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.25, "classifier_dropout": 0.1},
    "gpt2": {"n_ctx": 64, "task_specific_params": {"text-generation": {"do_sample": True}}, "my_note": "scaled"},
    "llama": {
        "rope_theta": 5e5, "rope_interleaved": False, "pretraining_tp": 1, "activation_function": "gelu",
        "layer_types": ["full_attention"] * 2,
        "embedding_multiplier": 1.0, "rope_scaling": {"type": "yarn", "factor": 4.0, "finetuned": True},
    },
}  # fmt: skip
OTHER_MODELS = [
    ("mpt-8", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln=True"),
    ("mpt-8", {"attn_config": {"alibi": False}}, "attn_config.alibi=False"),
    ("mpt-8", {"attn_config": {"alibi_bias_max": 16}}, "attn_config.alibi_bias_max=16"),
    ("mpt-8", {"attn_config": {"prefix_lm": True}}, "attn_config.prefix_lm=True"),
    ("mpt-8", {"attn_config": {"rope": True}}, "attn_config.rope=True"),
    ("mpt-8", {"logit_scale": "inv_sqrt_d_model"}, "logit_scale=inv_sqrt_d_model"),
    ("mpt-8", {"no_bias": False}, "no_bias=False"),
    ("mpt-8", {"norm_type": "rmsnorm"}, "norm_type=rmsnorm"),
    ("mpt-8", {"norm_eps": 1e-3}, "norm_eps=0.001"),
    ("mpt-8", {"ffn_config": {"ffn_type": "mptgeglu"}}, "ffn_config.ffn_type=mptgeglu"),
    ("llama", {"qk_norm": True}, "qk_norm=True"),
    ("llama", {"sliding_window": 16}, "sliding_window=16"),
    ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, "extrapolation_factor": 2.0}}, "extrapolation_factor"),
    ("bloom", {"activation_function": "relu"}, "activation_function=relu"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type=relative_key"),
    (
        "llama",
        {"layer_types": ["sliding_attention", "full_attention"]},
        "layer_types=full_attention, sliding_attention",
    ),
    ("llama", {"no_rope_layers": [1, 0]}, "no_rope_layers=0, 1"),
    ("llama", {"dual_chunk_attention_config": {"chunk_size": 8}}, "dual_chunk_attention_config.chunk_size=8"),
    ("mpt-8", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_config.attn_type=multiquery_attention"),
    ("gpt2", {"rope_theta": 1e4}, "rope_theta=10000.0"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ("gpt2", {"parallel_attn": True}, "parallel_attn=True"),
    ("gpt2", {"alibi": True}, "alibi=True"),
    ("gpt2", {"quantization_config": {"quant_method": "of another library"}}, "quantization_config"),
]


@pytest.fixture
def ignored(tmp_path):
    """What is ignored of an architecture's config.json with more settings in it."""

    def find(name, more):
        CONFIGS[name].save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        content = json.loads(path.read_text())
        for key, value in more.items():
            both = isinstance(value, dict) and isinstance(content.get(key), dict)
            content[key] = content[key] | value if both else value
        path.write_text(json.dumps(content))
        with torch.device("meta"):
            return ignored_settings(tmp_path, AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path)))

    return find


@pytest.mark.parametrize("name", CONFIGS)
def test_an_ordinary_configuration_is_all_read(name, ignored):
    assert ignored(name, {}) == []
    assert ignored(name, ORDINARY.get(name, {})) == []


@pytest.mark.parametrize(("name", "more", "found"), OTHER_MODELS)
def test_a_setting_that_no_class_reads_is_named(name, more, found, ignored):
    [told] = ignored(name, more)
    assert told.endswith(found) or found in told


@pytest.fixture
def guest(tmp_path, raw_lines):
    def make(name="gpt2"):
        return save_guest(tmp_path / "guest", CONFIGS[name], make_tokenizer(raw_lines["train"]))

    return make


def change_weights(folder, more, less=()):
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if name not in less}
    save_file(kept | more, folder / "model.safetensors", {"format": "pt"})


def opened(folder, tmp_path):
    return open_guest(f"hf:{folder}", tmp_path / "outputs").open(torch.device("cpu"), "fp32")


def test_weights_that_no_module_takes_are_named(guest, tmp_path):
    folder = guest("mpt-8")
    change_weights(folder, {"transformer.wpe.weight": torch.ones(32, 64)})
    with pytest.raises(ValueError, match=r"has transformer\.wpe\.weight, which MptForCausalLM .* another model"):
        opened(folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["attn_config"]["alibi"] = False
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"has attn_config\.alibi=False, transformer\.wpe\.weight, which"):
        opened(folder, tmp_path)


def test_a_module_that_no_weight_fills_is_named(guest, tmp_path):
    folder = guest()
    change_weights(folder, {}, less=["transformer.h.1.ln_2.weight"])
    with pytest.raises(ValueError, match=r"transformer\.h\.1\.ln_2\.weight is missing .* random numbers"):
        opened(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("gpt2", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ("gptj", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ("gpt_neox", ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"]),
        ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq"]),
        ("bert", ["bert.embeddings.position_ids"]),
    ],
)
def test_masks_and_frequencies_of_older_releases_are_no_weights(name, stored, guest, tmp_path):
    folder = guest(name)
    change_weights(folder, {key: torch.ones(1) for key in stored})
    assert opened(folder, tmp_path).about["model"] == CONFIGS[name].model_type


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.bin", "more.safetensors"])
def test_an_adapter_or_other_weights_beside_the_models_are_named(name, guest, tmp_path):
    folder = guest()
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=rf"has {name}, which transformers does not use.* Merge an adapter"):
        opened(folder, tmp_path)


def test_copies_and_shards_of_the_weights_are_no_other_weights(raw_lines, tmp_path):
    folder = save_guest(tmp_path / "guest", CONFIGS["gpt2"], make_tokenizer(raw_lines["train"]), max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    (folder / "model.fp16.safetensors").write_bytes(b"")
    (folder / "consolidated.safetensors").write_bytes(b"")
    assert opened(folder, tmp_path).about["model"] == "gpt2"
    (folder / "model-00009-of-00009.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model-00009-of-00009\.safetensors"):
        opened(folder, tmp_path)
