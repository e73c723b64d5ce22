"""A KEDA ``ScaledObject`` as rendered for the cluster, read into frozen settings.

Field names, defaults and bounds are those of KEDA's "ScaledObject specification" and of the
``HPAScalingRules`` of Kubernetes' autoscaling/v2 API. What the rules here do not model is refused.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

API_VERSION = "keda.sh/v1alpha1"
TARGETS = {
    "metrics-api": ("targetValue", "activationTargetValue"),
    "redis": ("listLength", "activationListLength"),
}
"""Where each type of trigger keeps its target and its activation threshold."""
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of the manifest: unknown fields are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Policy(Part):
    """How fast replicas may change: so many, or such a share of them, within a period."""

    type: Literal["Pods", "Percent"]
    value: int = Field(gt=0)
    period_seconds: float = Field(gt=0, le=1800)


class Rules(Part):
    """One direction's rules."""

    stabilization_window_seconds: Seconds | None = Field(None, le=3600)
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: tuple[Policy, ...] = ()
    tolerance: float | None = Field(None, ge=0)

    def filled(self, window_s: float, policies: tuple[Policy, ...]) -> "Rules":
        """Return the rules with this window and these policies where they have none."""
        window = self.stabilization_window_seconds
        return self.model_copy(
            update={
                "stabilization_window_seconds": window_s if window is None else window,
                "policies": self.policies or policies,
            }
        )

    def compressed(self, by: float) -> "Rules":
        """Return the rules with every time divided by ``by``."""
        return self.model_copy(
            update={
                "stabilization_window_seconds": (self.stabilization_window_seconds or 0.0) / by,
                "policies": tuple(
                    policy.model_copy(update={"period_seconds": policy.period_seconds / by})
                    for policy in self.policies
                ),
            }
        )


UP = (
    Policy(type="Pods", value=4, period_seconds=15),
    Policy(type="Percent", value=100, period_seconds=15),
)
DOWN = (Policy(type="Percent", value=100, period_seconds=15),)


class Behavior(Part):
    """Both directions' rules, filled with Kubernetes' defaults where the manifest is silent."""

    scale_up: Rules = Field(Rules(), validate_default=True)
    scale_down: Rules = Field(Rules(), validate_default=True)

    @field_validator("scale_up")
    @classmethod
    def _fill_up(cls, rules: Rules) -> Rules:
        return rules.filled(0.0, UP)

    @field_validator("scale_down")
    @classmethod
    def _fill_down(cls, rules: Rules) -> Rules:
        return rules.filled(300.0, DOWN)


class Fallback(Part):
    """What is asked for when the metric cannot be had more than so many times in a row."""

    failure_threshold: int = Field(ge=0)
    replicas: int = Field(ge=0)
    behavior: Literal[
        "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
    ] = "static"


class Trigger(Part):
    """What is measured. ``AverageValue``: the metric over the replicas is compared to the target.

    Other metric types and triggers that are not a single value are refused.
    """

    type: Literal["metrics-api", "redis"]
    metadata: dict[str, str]
    name: str | None = None
    metric_type: Literal["AverageValue"] = "AverageValue"
    use_cached_metrics: Literal[False] = False
    authentication_ref: dict[str, str] | None = None

    @model_validator(mode="after")
    def _has_target(self) -> "Trigger":
        if not self.target > 0:
            raise ValueError(f"{TARGETS[self.type][0]} has to be above 0")
        return self

    @property
    def target(self) -> float:
        """The value that one replica is to carry."""
        return float(self.metadata.get(TARGETS[self.type][0], 0))

    @property
    def activation(self) -> float:
        """The value that has to be passed for the trigger to be active."""
        return float(self.metadata.get(TARGETS[self.type][1], 0))

    def divided(self, by: float) -> "Trigger":
        """Return the trigger with target and threshold divided by ``by``."""
        target, activation = TARGETS[self.type]
        values = {target: str(self.target / by), activation: str(self.activation / by)}
        return self.model_copy(update={"metadata": self.metadata | values})


class HpaConfig(Part):
    """``advanced.horizontalPodAutoscalerConfig``."""

    name: str | None = None
    behavior: Behavior = Behavior()


class Advanced(Part):
    """``advanced``."""

    restore_to_original_replica_count: bool = False
    horizontal_pod_autoscaler_config: HpaConfig = HpaConfig()


class ScaledObject(Part):
    """The specification of one ScaledObject with one trigger. Times are seconds."""

    scale_target_ref: dict[str, str]
    polling_interval: float = Field(30, gt=0)
    cooldown_period: Seconds = 300
    initial_cooldown_period: Seconds = 0
    idle_replica_count: int | None = Field(None, ge=0)
    min_replica_count: int = Field(0, ge=0)
    max_replica_count: int = Field(100, gt=0)
    fallback: Fallback | None = None
    advanced: Advanced = Advanced()
    triggers: tuple[Trigger, ...] = Field(min_length=1, max_length=1)

    @field_validator("max_replica_count")
    @classmethod
    def _above_min(cls, value: int, info: Any) -> int:
        if value < info.data.get("min_replica_count", 0):
            raise ValueError(f"maxReplicaCount {value} is below minReplicaCount")
        return value

    @property
    def trigger(self) -> Trigger:
        """What is measured."""
        return self.triggers[0]

    @property
    def behavior(self) -> Behavior:
        """How fast replicas may change."""
        return self.advanced.horizontal_pod_autoscaler_config.behavior

    @property
    def hpa_min(self) -> int:
        """The least that the HPA made by KEDA may ask for: it never goes to zero itself."""
        return max(1, self.min_replica_count)

    def measuring(self, trigger: Trigger) -> "ScaledObject":
        """Return the same object with another trigger."""
        return self.model_copy(update={"triggers": (trigger,)})


def scaled_objects(manifest: str) -> tuple[ScaledObject, ...]:
    """Return the ScaledObjects of a rendered manifest, in its order.

    Raises:
        ValueError: one of them has a field that is unknown, out of bounds or not modelled.
    """
    return tuple(ScaledObject.model_validate(document["spec"]) for document in _found(manifest))


def _found(manifest: str) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(manifest):
        if isinstance(document, dict) and document.get("kind") == "ScaledObject":
            version = document.get("apiVersion")
            if version != API_VERSION:
                raise ValueError(f"ScaledObject of apiVersion {version!r}, not {API_VERSION}")
            yield document


def compressed(scaled: ScaledObject, by: float) -> ScaledObject:
    """Return the object with every time divided by ``by``, a target in seconds included.

    A run in compressed time takes the same decisions as one in real time where its load and its
    workers are as many times as fast.
    """
    behavior = Behavior(
        scale_up=scaled.behavior.scale_up.compressed(by),
        scale_down=scaled.behavior.scale_down.compressed(by),
    )
    config = scaled.advanced.horizontal_pod_autoscaler_config
    config = config.model_copy(update={"behavior": behavior})
    trigger = scaled.trigger
    return scaled.model_copy(
        update={
            "polling_interval": scaled.polling_interval / by,
            "cooldown_period": scaled.cooldown_period / by,
            "initial_cooldown_period": scaled.initial_cooldown_period / by,
            "advanced": scaled.advanced.model_copy(
                update={"horizontal_pod_autoscaler_config": config}
            ),
            "triggers": (trigger.divided(by) if trigger.type == "metrics-api" else trigger,),
        }
    )
