"""The models that a service keeps loaded, and the features that they have computed."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.engine.protocol.status import CacheUse
from MedSAM3SegmentLib.features.feature_cache import DEFAULT_BUDGET, FeatureCache
from MedSAM3SegmentLib.models.devices import DRAFT, Resolution
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume

#: Bytes of models that are kept by default: full-size SAM 3 with its tracker in float32, and half as much again.
DEFAULT_MODEL_BUDGET = 6 * 1024**3


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model on the shelf.

    Attributes:
        name, device: of the model, for people.
        size: bytes of its weights, the tracker's included.
        has_tracker: whether it can follow objects and be shown examples.
    """

    segmenter: SegmenterProtocol
    name: str
    device: str
    size: int
    has_tracker: bool = False

    @property
    def place(self) -> str:
        return "RAM" if self.device.startswith("cpu") else "GPU"


#: Loads the model that was named onto a device, to keep its features in one of the two caches. A fourth argument is its
#: resolution where that is not the model's own.
Loader = Callable[..., LoadedModel]

#: Refuses a request, of a volume, that the model that was named cannot do.
AbilityCheck = Callable[[str, SegmentRequest, Volume], None]


#: What differs as soon as a file of the model that was named does.
FilesVersion = Callable[[str], object]


class FeatureCaches:
    """One cache of features in main memory and one on the GPU, shared by all models.

    Args:
        ram_budget, gpu_budget: most bytes of each.
    """

    def __init__(self, ram_budget: int = DEFAULT_BUDGET, gpu_budget: int = DEFAULT_BUDGET) -> None:
        self._budgets = {"RAM": ram_budget, "GPU": gpu_budget}
        self._caches = {place: FeatureCache(budget) for place, budget in self._budgets.items()}

    def on(self, device: str, free: int | None = None) -> FeatureCache:
        """The cache for models on ``device``.

        Args:
            free: bytes that are free there, or None where that cannot be told; half of them is left to the work itself.
        """
        place = "RAM" if device.startswith("cpu") else "GPU"
        cache = self._caches[place]
        if free is not None:
            cache.budget = min(self._budgets[place], cache.bytes_held + free // 2)
        return cache

    def clear(self) -> None:
        for features in self._caches.values():
            features.clear()

    def uses(self) -> tuple[CacheUse, ...]:
        return tuple(
            CacheUse("features", place, cache.bytes_held, cache.budget, len(cache))
            for place, cache in self._caches.items()
        )


class ModelCache:
    """Loads models when they are asked for; what was used least recently goes first.

    One thread only, but for ``check``, ``last_used`` and ``uses``.

    Args:
        load: loads one.
        budget: most bytes of weights to keep; the model in use is always kept.
        features: what the models have computed.
        check: refuses what a model cannot do; None to let the model itself say so.
        version: tells whether a model's files were changed since it was loaded, as by more training; None where there
            are none.
    """

    def __init__(
        self,
        load: Loader,
        budget: int = DEFAULT_MODEL_BUDGET,
        features: FeatureCaches | None = None,
        check: AbilityCheck | None = None,
        version: FilesVersion | None = None,
    ) -> None:
        self.budget = budget
        self.features = features or FeatureCaches()
        self.check = check or (lambda *_: None)
        self._load = load
        self._version = version or (lambda _: None)
        self._models: OrderedDict[tuple[str, str, bool], LoadedModel] = OrderedDict()
        self._versions: dict[tuple[str, str, bool], object] = {}

    def has(self, model: str, device: str, draft: bool = False) -> bool:
        """Whether a model need not be loaded first, because it is kept and its files are as they were.

        Args:
            draft: whether it looks with half of its own pixels.

        Raises:
            ModelError: its files are gone.
        """
        key = model, device, draft
        return key in self._models and self._versions[key] == self._version(model)

    def get(self, model: str, device: str, draft: bool = False) -> LoadedModel:
        """A model, loaded if need be; raises what loading raises.

        Where there is no room for it beside what is kept, that goes, and it is loaded again.

        Args:
            draft: whether it looks with half of its own pixels.
        """
        key = model, device, draft
        if not self.has(*key):
            if self._models.pop(key, None) is not None:
                free_unused_memory()
            # Before it is loaded: what is written meanwhile is another version.
            version = self._version(model)
            self._models[key], self._versions[key] = self._loaded(*key), version
        self._models.move_to_end(key)
        while len(self._models) > 1 and sum(kept.size for kept in self._models.values()) > self.budget:
            self._models.popitem(last=False)
            free_unused_memory()
        return self._models[key]

    def _loaded(self, model: str, device: str, draft: bool) -> LoadedModel:
        from MedSAM3SegmentLib.models.memory import is_out_of_memory  # needs PyTorch, as the models do

        resolution = (DRAFT,) if draft else ()
        try:
            return self._load(model, device, self.features, *resolution)
        except Exception as error:
            if not self._models or not is_out_of_memory(error):
                raise
        # Outside the handler, whose traceback would keep what was loaded so far alive.
        self.clear()
        return self._load(model, device, self.features, *resolution)

    def clear(self) -> None:
        """Let go of all models and features, and of the memory that they took."""
        self._models.clear()
        self._versions.clear()
        self.features.clear()
        free_unused_memory()

    @property
    def last_used(self) -> LoadedModel | None:
        models = list(self._models.values())
        return models[-1] if models else None

    def uses(self) -> tuple[CacheUse, ...]:
        """What is kept, by name and place."""
        sizes: dict[str, list[int]] = {"RAM": []}
        for model in list(self._models.values()):
            sizes.setdefault(model.place, []).append(model.size)
        kept = [CacheUse("models", place, sum(there), self.budget, len(there)) for place, there in sizes.items()]
        return (*kept, *self.features.uses())


def load_segmenter(
    model: str, device: str, features: FeatureCaches, resolution: Resolution | None = None
) -> LoadedModel:
    """A real model, as ``models.load_model.load_model`` takes it."""
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.models.memory import free_memory, save_memory_on_small_gpu
    from MedSAM3SegmentLib.segmenter import Segmenter

    loaded = load_model(model, device, resolution=resolution)
    save_memory_on_small_gpu(loaded)
    cache = features.on(str(loaded.features_device), free_memory(loaded.features_device))
    tracker = (loaded.tracker.model, loaded.tracker.neck) if loaded.tracker is not None else ()
    weights = (value for network in (loaded.network, *tracker) for value in network.parameters())
    size = sum(value.numel() * value.element_size() for value in weights)
    return LoadedModel(Segmenter(loaded, cache=cache), loaded.identity.name, str(loaded.device), size, bool(tracker))


def free_unused_memory() -> None:
    """Give back what nothing refers to any more, the GPU's as well."""
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
