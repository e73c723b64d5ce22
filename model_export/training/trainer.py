"""A training run's state and its step: networks, moving average, optimizer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast

from diffusion.codec import PatchPCACodec
from diffusion.samplers.forward import add_noise
from diffusion.schedules.vp import training_betas
from model_export.data.captions import Caption, draw_caption
from model_export.data.data import Dataset
from model_export.data.subjects import subjects
from model_export.errors import CheckpointError
from model_export.training.batches import batch_at
from model_export.training.checkpoint import Checkpoint
from model_export.training.loss import target, weighted_mse, weights
from model_export.training.network import Networks
from model_export.training.settings import TrainingSettings, differences, settings_of
from model_export.training.targets import Targets

MOMENTS = ("exp_avg", "exp_avg_sq")
FUSED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


class Trainer:
    """Trains on ``dataset``; equal settings give equal bits after equal steps."""

    def __init__(
        self,
        settings: TrainingSettings,
        dataset: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        codec: PatchPCACodec,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.step = 0  # steps done
        self.networks = _seeded_networks(settings).to(device)
        self._dataset = dataset
        self._tokenizer = tokenizer
        self._device = device
        self._subjects = subjects(dataset)
        self.targets = Targets(dataset, self._subjects, codec, device)
        process = settings.process
        betas = training_betas(
            process.beta_schedule,
            process.num_train_timesteps,
            process.beta_start,
            process.beta_end,
        )
        self._alphas_cumprod = torch.from_numpy(np.cumprod(1 - betas)).float().to(device)
        self._names = [name for name, _ in self.networks.named_parameters()]
        self._parameters: list[Tensor] = list(self.networks.parameters())
        self._average = [p.detach().clone() for p in self._parameters]
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def advance(self, learning_rate: float) -> Tensor:
        """Take one step and return its loss, a scalar on the device."""
        loss = self._loss()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.gradient_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._update_average()
        self.step += 1
        return loss.detach()

    def _loss(self) -> Tensor:
        settings, process = self.settings, self.settings.process
        batch = batch_at(
            self.step,
            seed=settings.seed,
            count=len(self._dataset),
            size=settings.batch,
            timesteps=process.num_train_timesteps,
            shape=self.targets.shape,
        )
        images = batch.images.tolist()
        captions = self._captions(images)
        x0 = self.targets.of(images, captions)
        timesteps = torch.from_numpy(batch.timesteps).to(self._device)
        noise = torch.from_numpy(batch.noise).to(self._device)
        seen = x0
        if settings.one_step:  # what a sampler's first step sees: pure noise
            seen = torch.zeros_like(x0)
            timesteps = torch.full_like(timesteps, process.num_train_timesteps - 1)
        noisy = add_noise(seen, noise, timesteps, self._alphas_cumprod)
        tokens = self._tokens([caption.text for caption in captions])
        with self._precision():
            embeddings = self.networks.text_encoder(tokens).last_hidden_state
            prediction = self.networks.unet(noisy, timesteps, embeddings, return_dict=False)[0]
        alpha = self._alphas_cumprod[timesteps]
        kind = process.prediction_type
        weight = weights(kind, settings.weighting, alpha / (1 - alpha), settings.min_snr_gamma)
        wanted = target(kind, x0, noise, timesteps, self._alphas_cumprod)
        return weighted_mse(prediction.float(), wanted, weight)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        if self.settings.precision == "float32":
            yield
            return
        # On the CPU fused attention's backward pass is ten times slower in bfloat16.
        kernels = [SDPBackend.MATH] if self._device.type == "cpu" else list(FUSED)
        with torch.autocast(self._device.type, torch.bfloat16), sdpa_kernel(kernels):
            yield

    def _captions(self, images: Sequence[int]) -> list[Caption]:
        random = Random(f"{self.settings.seed}:{self.step}")
        drop, mix = self.settings.prompt_drop, self.settings.mix
        return [draw_caption(self._subjects[i], drop, random, mix) for i in images]

    def _tokens(self, captions: list[str]) -> Tensor:
        tokens: Tensor = self._tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=self.settings.network.tokens,
            return_tensors="pt",
        ).input_ids
        return tokens.to(self._device)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early averages favour the newest weights: the initial ones are far from any good.
        decay = min(self.settings.ema_decay, (self.step + 1) / (self.step + 10))
        torch._foreach_mul_(self._average, decay)
        torch._foreach_add_(self._average, self._parameters, alpha=1 - decay)

    def averaged(self) -> dict[str, Tensor]:
        """Return the moving average of the weights by name, which a bundle is made of."""
        return dict(zip(self._names, self._average, strict=True))

    def checkpoint(self, elapsed_s: float) -> Checkpoint:
        """Return the state, on the CPU."""
        tensors: dict[str, Tensor] = {
            f"networks.{n}": p for n, p in self.networks.named_parameters()
        }
        tensors |= {f"ema.{n}": p for n, p in self.averaged().items()}
        for name, parameter in self.networks.named_parameters():
            for moment in MOMENTS:
                value = self._optimizer.state.get(parameter, {}).get(moment)
                if value is not None:
                    tensors[f"{moment}.{name}"] = value
        return Checkpoint(
            step=self.step,
            elapsed_s=elapsed_s,
            settings=asdict(self.settings),
            dataset=self._dataset.fingerprint,
            tensors={key: value.detach().to("cpu", copy=True) for key, value in tensors.items()},
        )

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume a run where it was saved.

        Raises:
            CheckpointError: the run has other settings, data or networks.
        """
        self._check(checkpoint)
        try:
            self.networks.load_state_dict(checkpoint.part("networks"))
            average = checkpoint.part("ema")
            for name, tensor in self.averaged().items():
                tensor.copy_(average[name])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"the checkpoint's networks do not fit: {error}") from error
        moments = {moment: checkpoint.part(moment) for moment in MOMENTS}
        for name, parameter in self.networks.named_parameters():
            if name in moments["exp_avg"]:
                state = {m: moments[m][name].to(self._device) for m in MOMENTS}
                count = torch.tensor(float(checkpoint.step), device=self._device)
                self._optimizer.state[parameter] = {"step": count, **state}
        self.step = checkpoint.step

    @torch.no_grad()
    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Start from other weights.

        Raises:
            CheckpointError: they are of networks of another size.
        """
        try:
            self.networks.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"the origin's networks do not fit: {error}") from error
        self._average = [p.detach().clone() for p in self._parameters]

    def _check(self, checkpoint: Checkpoint) -> None:
        try:
            other = settings_of(checkpoint.settings)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint's settings are unknown: {error}") from error
        changed = differences(self.settings, other)
        if changed:
            raise CheckpointError(f"the run was started with other settings: {'; '.join(changed)}")
        if checkpoint.dataset != self._dataset.fingerprint:
            raise CheckpointError("the run was started on another data set")


def _seeded_networks(settings: TrainingSettings) -> Networks:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return Networks(settings.network)
