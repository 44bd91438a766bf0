"""The scale of queries by the keys they see: its formulas in plain float64, where it starts, and what is refused."""

import dataclasses
import math

import pytest
import torch
from dense_reference import in_float64, random_model, reference_hidden, stack_of
from stack_inputs import left_padding, tokens

from alibi.model import LanguageModel, ModelConfig
from alibi.model.query_scale import QueryScale, QueryScaleConfig

H = 3


def factors(config: QueryScaleConfig, numbers: list[int], s: list[float] | None = None) -> torch.Tensor:
    """(H, L), read off queries of ones that see so many keys."""
    scale = QueryScale(config, H).double()
    scale.initialise()
    if s is not None:
        scale.s_H.data.copy_(torch.tensor(s))
    ones = torch.ones(1, H, len(numbers), 2, dtype=torch.float64)
    scaled = scale(ones, torch.tensor(numbers).view(1, 1, -1))
    assert torch.equal(scaled[..., 0], scaled[..., 1])
    return scaled[0, ..., 0].detach()


def log_n(n: int) -> float:
    return max(1.0, math.log(n) / math.log(64))


def llama4(n: int, beta: float = 0.1) -> float:
    return 1.0 + beta * math.log(1 + n // 64)


NUMBERS = [1, 2, 3, 63, 64, 65, 127, 128, 129, 1000, 64**2, 64**3]


@pytest.mark.parametrize(
    ("config", "formula"),
    [
        (QueryScaleConfig("log_n", 64), log_n),
        (QueryScaleConfig("llama4", 64), llama4),
        (QueryScaleConfig("llama4", 64, beta=0.5), lambda n: llama4(n, 0.5)),
        (QueryScaleConfig("ssmax", 64), lambda n: math.log(n) / math.log(64)),
        (QueryScaleConfig("ssmax", init=0.43), lambda n: 0.43 * math.log(n)),
    ],
)
def test_the_factor_is_the_formula(config, formula):
    wanted = torch.tensor([formula(n) for n in NUMBERS], dtype=torch.float64)
    # s is a parameter, and parameters are float32.
    tolerance = 1e-6 if config.name == "ssmax" else 1e-14
    assert (factors(config, NUMBERS) - wanted).abs().max() < tolerance * wanted.max()
    one_more = torch.tensor([formula(n + 1) for n in NUMBERS], dtype=torch.float64)
    assert (factors(config, NUMBERS) - one_more).abs().max() > 100 * tolerance, "control: one key too many"


def test_ssmax_has_a_slope_for_each_head():
    found = factors(QueryScaleConfig("ssmax", 64), NUMBERS, s=[0.1, 0.2, 0.7])
    logs = torch.tensor([math.log(n) for n in NUMBERS], dtype=torch.float64)
    assert (found - torch.tensor([[0.1], [0.2], [0.7]]).double() * logs).abs().max() < 1e-6


def test_keys_may_be_counted_for_each_row_and_head():
    scale, n_BHL = QueryScale(QueryScaleConfig("log_n", 2), H), torch.randint(1, 99, (4, H, 5))
    q = torch.randn(4, H, 5, 2)
    wanted = q * (n_BHL.double().log() / math.log(2)).clamp(min=1)[..., None].float()
    assert torch.equal(scale(q, n_BHL), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_queries_keep_their_type_and_are_scaled_in_a_wide_one(dtype):
    scale, q = QueryScale(QueryScaleConfig("log_n", 64), H), torch.full((1, H, 1, 2), 1.5, dtype=dtype)
    scaled = scale(q, torch.tensor([[[5000]]]))
    assert scaled.dtype == dtype
    factor = torch.tensor(log_n(5000), dtype=torch.float64).to(torch.promote_types(dtype, torch.float32))
    assert (scaled == (1.5 * factor).to(dtype)).all()
    if dtype == torch.bfloat16:  # control: a factor rounded first
        assert (scaled != q * factor.bfloat16()).any()


SCALES = [
    QueryScaleConfig("log_n", 40),
    QueryScaleConfig("llama4", 40),
    QueryScaleConfig("ssmax", 40),
    QueryScaleConfig("ssmax", init=0.5),
]


def model_of(scale: QueryScaleConfig | None, **values) -> LanguageModel:
    values = {"d_model": 24, "num_heads": H, "num_layers": 2, "d_ff": 32, **values}
    values |= {} if scale is None else {"query_scale": scale}
    return LanguageModel(ModelConfig({"name": "alibi"}, **values), 50, seed=0).eval().double()


def rows(scale: QueryScaleConfig | None, length: int) -> torch.Tensor:
    """The logits of one layer, so that a row differs where its own query is scaled."""
    ids = torch.randint(50, (1, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model_of(scale, num_layers=1)(ids)[0]


def test_ssmax_starts_as_plain_softmax_at_the_last_row_of_the_training_length():
    plain, scaled = rows(None, 60), rows(QueryScaleConfig("ssmax", 40), 60)
    differ = (plain - scaled).abs().amax(-1)
    assert differ[39] < 1e-6
    assert differ[0] < 1e-12, "one key has all the weight, whatever its score"
    assert (differ[1:39] > 1e-6).all()
    assert (differ[40:] > 1e-6).all()
    assert (differ[[20, 59]] > 1e-4).all(), "control"


@pytest.mark.parametrize("name", ["log_n", "llama4"])
def test_nothing_changes_up_to_the_length(name):
    plain, scaled = rows(None, 90), rows(QueryScaleConfig(name, 40), 90)
    differ = (plain - scaled).abs().amax(-1)
    first = 40 if name == "log_n" else 39  # floor(n / length) is 1 at the length itself
    assert (differ[:first] < 1e-12).all()
    assert (differ[first:] > 1e-6).all()


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"{scale.name}-{scale.init}")
@pytest.mark.parametrize(
    "values", [{}, {"window": 7}, {"window": 7, "sink_tokens": 2}, {"causal": False}], ids=lambda values: str(values)
)
def test_the_whole_stack_is_the_dense_reference(scale, values):
    """With padding, windows and sinks: keys that are hidden are not counted."""
    scale = scale if scale.length is None else dataclasses.replace(scale, length=5)
    stack = in_float64(stack_of(random_model("alibi", query_scale=scale, **values)))
    for block in stack.blocks:
        block.attention.query_scale.initialise()
    x, padding = tokens(stack, 70).double(), left_padding([70, 41, 3], 70)
    outputs = stack(x), stack(x, padding_mask=padding)[~padding]
    assert (outputs[0] - reference_hidden(stack, x)).abs().max() < 1e-10
    assert (outputs[1] - reference_hidden(stack, x, None, padding)[~padding]).abs().max() < 1e-10
    for block in stack.blocks:  # control
        block.layer = dataclasses.replace(block.layer, query_scale=QueryScaleConfig())
    assert (outputs[0] - reference_hidden(stack, x)).abs().max() > 1e-3
    assert (outputs[1] - reference_hidden(stack, x, None, padding)[~padding]).abs().max() > 1e-3


def test_the_learned_slope_gets_its_gradient():
    model = model_of(QueryScaleConfig("ssmax", 40))
    ids = torch.randint(50, (2, 61), generator=torch.Generator().manual_seed(1))
    model.total_nats(ids[:, :-1], ids[:, 1:]).backward()
    for block in model.transformer.blocks:
        s_H = block.attention.query_scale.s_H
        assert (s_H.grad.abs() > 1e-4).all()
        for head in range(H):
            nats = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    s_H[head] += step
                    nats.append(model.total_nats(ids[:, :-1], ids[:, 1:]).item())
                    s_H[head] -= step
            assert (nats[0] - nats[1]) / 2e-5 == pytest.approx(s_H.grad[head].item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"{scale.name}-{scale.init}")
def test_only_ssmax_has_parameters_and_they_count_as_the_rest(scale):
    plain, model = model_of(None), model_of(scale)
    names = {name for name, _ in model.named_parameters()} - {name for name, _ in plain.named_parameters()}
    wanted = {f"transformer.blocks.{at}.attention.query_scale.s_H" for at in (0, 1)} if scale.name == "ssmax" else set()
    assert names == wanted
    count, before = model.count_parameters(), plain.count_parameters()
    assert (count.position, count.embedding, count.rest - before.rest) == (0, before.embedding, H * len(wanted))
    for name in wanted:
        start = 1 / math.log(40) if scale.init is None else scale.init
        assert model.get_parameter(name).tolist() == pytest.approx([start] * H)


def test_a_scale_changes_no_other_initial_value():
    plain, model = model_of(None), model_of(SCALES[2])
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in plain.named_parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "log"}, r"model\.query_scale\.name \('log'\) must be one of: log_n, ssmax, llama4"),
        ({"name": "log_n", "beta": 0.1}, r"model\.query_scale\.beta \(0\.1\) would be ignored by log_n; remove it"),
        ({"name": "ssmax", "beta": 0.1}, r"model\.query_scale\.beta \(0\.1\) would be ignored by ssmax; remove it"),
        ({"name": "log_n", "init": 0.4}, r"model\.query_scale\.init \(0\.4\) would be ignored by log_n; remove it"),
        ({"name": "llama4", "init": 0.4}, r"model\.query_scale\.init \(0\.4\) would be ignored by llama4; remove it"),
        ({"name": "ssmax", "init": 0.4, "length": 9}, r"model\.query_scale\.length \(9\) would be ignored with init"),
        ({"name": "log_n", "length": 1}, r"model\.query_scale\.length \(1\) must be at least 2"),
        ({"name": "ssmax", "length": 1}, r"model\.query_scale\.length \(1\) must be at least 2"),
        ({"name": "ssmax", "init": 0.0}, r"model\.query_scale\.init \(0\.0\) must be above 0"),
        ({"name": "llama4", "beta": -0.1}, r"model\.query_scale\.beta \(-0\.1\) must be above 0"),
        ({"name": "llama4", "length": 8.5}, r"model\.query_scale\.length \(8\.5\) must be a whole number"),
        ({"name": "ssmax", "init": math.nan}, r"model\.query_scale\.init \(nan\) must be a finite number"),
        ({"length": 8}, r"model\.query_scale.*would be ignored without model\.query_scale\.name"),
    ],
)
def test_what_makes_no_scale_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(query_scale=QueryScaleConfig(**values))
    with pytest.raises(ValueError, match=message):
        ModelConfig(query_scale=values)
    of_layer = message.replace(r"model\.", r"model\.layer_types\.one\.")
    with pytest.raises(ValueError, match=of_layer):
        ModelConfig(pattern=["one"], layer_types={"one": {"position": "none", "query_scale": values}})


@pytest.mark.parametrize("name", ["log_n", "ssmax", "llama4"])
def test_a_scale_needs_a_length(name):
    config = ModelConfig(query_scale=QueryScaleConfig(name))
    with pytest.raises(ValueError, match=rf"query_scale\.length must be given for {name}, such as the training length"):
        LanguageModel(config, 50)
    assert config.query_scale.with_length(128) == QueryScaleConfig(name, 128)
    assert QueryScaleConfig(name, 64).with_length(128) == QueryScaleConfig(name, 64)


def test_a_scale_that_needs_no_length_gets_none():
    assert QueryScaleConfig("ssmax", init=0.4).with_length(128) == QueryScaleConfig("ssmax", init=0.4)
    assert QueryScaleConfig().with_length(128) == QueryScaleConfig()


def test_the_training_length_is_filled_in_for_every_type_of_layer():
    config = ModelConfig(
        pattern=["a", "b", "c"],
        num_layers=3,
        layer_types={
            "a": {"position": "none", "query_scale": {"name": "log_n"}},
            "b": {"position": "none", "query_scale": {"name": "ssmax", "length": 9}},
            "c": {"position": "none"},
        },
    )
    config.fill_in_length(128)
    assert [layer.query_scale.length for _, layer in config.layers()] == [128, 9, None]


@pytest.mark.parametrize("name", ["log_n", "ssmax", "llama4"])
def test_a_training_length_of_one_is_refused_too(name):
    with pytest.raises(ValueError, match=r"query_scale\.length \(1\) must be at least 2"):
        ModelConfig(query_scale=QueryScaleConfig(name)).fill_in_length(1)
