"""Initial values: keyed by name, alike over methods, independent of order, and of the stated size."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from stack_inputs import METHODS

from alibi.model import ALiBiConfig, ALiBiTransformer, LanguageModel, ModelConfig
from alibi.model.initialise import named_generator
from alibi.positions import PairBias, Position


def make(method: str = "alibi", seed: int | None = 3, **values) -> LanguageModel:
    config = ModelConfig(position={"name": method}, **{"num_layers": 2, "d_model": 64, "num_heads": 4, **values})
    return LanguageModel(config, 101, seed)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether all parameters that both have are bit-identical; they must have some."""
    a, b = dict(a.named_parameters()), dict(b.named_parameters())
    shared = a.keys() & b.keys()
    assert shared
    return all(torch.equal(a[name], b[name]) for name in shared)


@pytest.mark.parametrize("method", METHODS)
def test_methods_share_their_parameters_bit_by_bit(method):
    """All that the model without a method has, and nothing else except the method's own."""
    plain, model = make("none"), make(method)
    assert same(plain, model)
    assert not same(plain, make(method, seed=4))
    own = {name for name, _ in model.named_parameters()} ^ {name for name, _ in plain.named_parameters()}
    assert all("position" in name for name in own)
    assert len(own) == len({name for name, _ in model.named_parameters() if "position" in name})


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_repeats_itself_in_any_order(method):
    first = make(method)
    torch.randn(17)
    make("t5", seed=9)
    make(method, seed=4)
    assert same(make(method), first)


def test_more_blocks_and_an_untied_output_change_no_shared_input_layer():
    base, deep, untied = make(), make(num_layers=5), make(tie_embeddings=False)
    assert torch.equal(
        base.transformer.blocks[1].attention.query.weight, deep.transformer.blocks[1].attention.query.weight
    )
    assert same(base, untied)


def test_settings_of_the_method_change_no_other_parameter():
    config = ModelConfig(position={"name": "t5", "num_buckets": 64}, num_layers=2, d_model=64, num_heads=4)
    ours, plain = dict(LanguageModel(config, 101, 3).named_parameters()), dict(make("t5").named_parameters())
    differ = {
        name for name in plain if ours[name].shape != plain[name].shape or not torch.equal(ours[name], plain[name])
    }
    assert differ == {"transformer.position.table"}


def test_torch_manual_seed_rules_where_no_seed_is_given():
    def made_after(seed, build):
        torch.manual_seed(seed)
        return build()

    for build in (lambda: make(seed=None), lambda: ALiBiTransformer(ALiBiConfig(num_layers=1, d_model=32))):
        assert same(made_after(5, build), made_after(5, build))
        assert not same(made_after(5, build), made_after(6, build))
        torch.manual_seed(5)
        assert not same(build(), build())


def test_a_given_seed_does_not_listen_to_torch_manual_seed():
    torch.manual_seed(0)
    first = make()
    torch.manual_seed(1)
    assert same(make(), first)


def test_untied_output_is_drawn_and_seeded():
    model = make(tie_embeddings=False)
    weight = model.output.weight
    assert not torch.equal(weight, model.embedding.weight)
    assert weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert torch.equal(weight, make(tie_embeddings=False).output.weight)
    assert not torch.equal(weight, make(tie_embeddings=False, seed=4).output.weight)


def test_tied_output_is_the_embedding_and_is_saved_once():
    model = make()
    assert model.output.weight is model.embedding.weight
    assert "output.weight" not in dict(model.named_parameters())
    assert model.embedding.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)


def test_table_of_t5_is_drawn_and_seeded():
    table = make("t5", d_model=256).transformer.position.table
    assert table.std().item() == pytest.approx(256**-0.5, rel=0.25)
    assert torch.equal(table, make("t5", d_model=256).transformer.position.table)
    assert not torch.equal(table, make("t5", d_model=256, seed=4).transformer.position.table)


def test_linear_layers_have_the_stated_size():
    block = make(d_model=256, num_layers=8, bias=True).transformer.blocks[3]
    for layer in (block.attention.query, block.attention.key, block.attention.value, block.feed_forward.up):
        assert layer.weight.std().item() == pytest.approx(256**-0.5, rel=0.03)
        assert not layer.bias.any()
    assert block.attention.output.weight.std().item() == pytest.approx((256 * 16) ** -0.5, rel=0.03)
    assert block.feed_forward.down.weight.std().item() == pytest.approx((1024 * 16) ** -0.5, rel=0.03)
    assert (block.attention_norm.weight == 1).all()
    assert not block.attention_norm.bias.any()


def test_no_two_parameters_are_drawn_alike():
    weights = [p for p in make(d_ff=64).parameters() if p.shape == (64, 64)]
    assert len(weights) == 12
    scaled = [w / w.norm() for w in weights]
    assert all(not torch.allclose(a, b) for a, b in itertools.combinations(scaled, 2))


def test_a_name_has_one_generator():
    draws = {(seed, name): torch.randn(4, generator=named_generator(seed, name)) for seed in (0, 1) for name in "ab"}
    assert torch.equal(draws[0, "a"], torch.randn(4, generator=named_generator(0, "a")))
    assert all(not torch.equal(x, y) for x, y in itertools.combinations(draws.values(), 2))


def test_large_and_negative_seeds_are_seeds():
    for seed in (-1, 2**62, 2**63 - 1):
        assert same(make(seed=seed), make(seed=seed))


@pytest.mark.parametrize("shared", [True, False])
def test_a_method_draws_all_of_its_modules_itself(shared, monkeypatch):
    """Also linear layers and embeddings, which elsewhere in the model are drawn by their kind."""
    monkeypatch.setattr(Position, "registry", dict(Position.registry))

    class Toy(Position, name="toy"):
        @dataclass
        class Settings(Position.Settings):
            shared: bool = True

        def __init__(self, *args):
            super().__init__(*args)
            self.network = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
            self.words = torch.nn.Embedding(3, 4)
            self.norm = torch.nn.LayerNorm(4)

        @torch.no_grad()
        def initialise(self, generator):
            for parameter in self.parameters():
                parameter.uniform_(7.0, 8.0, generator=generator)

        def bias(self):
            return PairBias(lambda i, j, *own: (i - j).double(), ())

    position = {"name": "toy", "shared": shared}
    model, again, other = (
        LanguageModel(ModelConfig(position, num_layers=2, d_model=64, num_heads=4), 101, seed) for seed in (3, 3, 4)
    )
    own = [p for module in model.modules() if isinstance(module, Toy) for p in module.parameters()]
    assert len(own) == (7 if shared else 14)
    assert all(((p >= 7) & (p <= 8)).all() for p in own)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(own, 2)), "each layer draws its own"
    assert same(model, again)
    assert not same(model, other)
    plain = dict(make("none").named_parameters())
    assert all(torch.equal(value, plain[name]) for name, value in model.named_parameters() if name in plain)


def test_parameters_of_a_method_without_an_initialise_are_refused(monkeypatch):
    monkeypatch.setattr(Position, "registry", dict(Position.registry))

    class Toy(Position, name="toy"):
        def __init__(self, *args):
            super().__init__(*args)
            self.layer = torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"^toy has parameters; its `initialise` must set them all\.$"):
        make("toy")


def test_layers_of_a_pattern_draw_by_their_place():
    """A model whose layers differ shares what it has in common with a model of one method."""
    types = {"a": {"position": {"name": "t5"}}, "b": {"position": {"name": "fox", "init": "zero"}}}
    shape = {"num_layers": 2, "d_model": 64, "num_heads": 4}
    model = LanguageModel(ModelConfig(pattern=["a", "b"], layer_types=types, **shape), 101, 3)
    assert same(model, make("none"))
    alone = LanguageModel(ModelConfig({"name": "fox", "init": "zero"}, **shape), 101, 3)
    assert torch.equal(model.transformer.blocks[1].position.weight_HD, alone.transformer.blocks[1].position.weight_HD)
    first, second = (block.position.weight_HD for block in alone.transformer.blocks)
    assert not torch.equal(first, second)
