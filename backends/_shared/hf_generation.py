"""`generate()` of transformers on the components that its own exporters make for generation.

Follows transformers' documentation: `exporter.export_for_generation(model, inputs, config)` gives a
program for the prompt and one for each further token, `.to("cpu")` loads them, and
`.runners[name](**inputs)` runs one. The loop around them is the caller's: here transformers' own
`generate()`, whose calls of forward go to the runners.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from backends._shared.export_failed import ExportFailed, innermost_cause
from backends._shared.hf_export import REFUSAL, quiet, tensors
from harness.contract import Arrays, Case, CheckFailed, Generated, GenerationRequest, Unsupported
from harness.toolkit import greedy_generation

#: The components of a model that reads text alone: the prompt, and each further token.
PROMPT, TOKEN = "prefill", "decode"

#: The arguments of forward for a text and its mask.
TEXT, MASK = "input_ids", "attention_mask"

#: Loads the programs of a `transformers.exporters.ExportedModel`.
Load = Callable[[Any], None]

#: The share of each program's nodes that are on the device, by component.
Shares = Callable[[Any], Mapping[str, float]]


class HfGenerator:
    """Greedy generation on a program for the prompt and one for a token.

    Implements `harness.contract.Generator`. An encoder is no component of such an export: PyTorch
    computes it.

    Args:
        exporter: a `transformers.exporters.HfExporter`.
        case: that generates.
        load: called with the `transformers.exporters.ExportedModel`.
        shares: told of the same one, once its programs are loaded.
        settings: further fields of the exporter's config.
    """

    def __init__(
        self, exporter: Any, case: Case, load: Load, shares: Shares, **settings: Any
    ) -> None:
        assert case.generation is not None
        self.exporter = exporter
        self.case = case
        self.how = case.generation
        self.load = load
        self.shares = shares
        self.settings = settings
        self.runners: Mapping[str, Any] = {}
        self.read = 0  # tokens of the text that is being generated
        self.model = case.module().eval()
        greedy_generation.make_greedy(self.model, self.how)

    def __call__(self, request: GenerationRequest) -> Generated:
        """The text of a request.

        Raises:
            ExportFailed: a component cannot be exported.
            Unsupported: it asks for a cache of another kind, or for several tokens behind a cache,
                or the export has other components.
            CheckFailed: a program runs on another device in part.
        """
        if request.settings or request.assisted or request.follow is not None:
            raise Unsupported(
                "its program for a further token takes one, behind a cache that grows"
            )
        if not self.runners:
            self._export(request.inputs)
        self.read = 0
        with torch.no_grad():
            return greedy_generation.generate(self.model, self.how, request, tensors)

    def _export(self, inputs: Arrays) -> None:
        model = self.case.module().eval()
        greedy_generation.make_greedy(model, self.how)
        greedy_generation.begin_with(model, self.how, inputs)
        config = self.exporter.config_class(dynamic=True, **self.settings)
        try:
            with quiet():
                made = self.exporter.export_for_generation(model, self._masked(inputs), config)
                if {*made.components} != {PROMPT, TOKEN}:
                    raise Unsupported(
                        f"the export has the components {', '.join(made.components)}, and how one "
                        "calls the other is not documented"
                    )
                self.load(made)
        except Unsupported:
            raise
        except Exception as error:
            if REFUSAL in str(error):
                raise Unsupported(str(error)) from error
            raise ExportFailed(f"dynamic: {innermost_cause(error)}") from error
        for name, share in self.shares(made).items():
            if share < 1.0:
                fault = "placement: expected all of generation on the device"
                raise CheckFailed(f"{fault}, found {share:.0%} of {name}", fault=fault)
        self.runners = made.runners
        self.model.forward = self._through_runners(self.model.forward)

    def _masked(self, inputs: Arrays) -> dict[str, torch.Tensor]:
        """The inputs with a mask of the text that begins with padding in one row.

        `generate()` drops a mask of ones, and the programs would have none.
        """
        given = tensors(inputs)
        takes = inspect.signature(self.model.forward).parameters
        if MASK in takes and self.how.argument == TEXT:
            given[MASK] = torch.ones_like(given[TEXT])
            given[MASK][0, 0] = 0
        return given

    def _through_runners(self, forward: Any) -> Any:
        signature = inspect.signature(forward)

        @functools.wraps(forward)  # generate() reads its signature
        def called(*args: Any, **keywords: Any) -> Any:
            given = dict(signature.bind(*args, **keywords).arguments)
            given |= given.pop("kwargs", {})
            runner = self.runners[TOKEN if self.read else PROMPT]
            taken = runner.metadata.kwargs
            if MASK in taken and given.get(MASK) is None:
                rows, length = given[TEXT].shape
                given[MASK] = given[TEXT].new_ones(rows, self.read + length)
            self.read += given[self.how.argument].shape[1]
            return runner(**{name: value for name, value in given.items() if name in taken})

        return called
