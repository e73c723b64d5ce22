"""A KEDA ``ScaledObject`` as the chart renders it, read into frozen settings.

Field names are those of KEDA's "ScaledObject specification" and of the ``HPAScalingRules`` of
Kubernetes' autoscaling/v2 API. What the rules here do not model is refused.
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import AliasPath, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MANIFEST = Path(__file__).parents[3] / "deploy" / "kustomize" / "base" / "sfumato.yaml"


class Part(BaseModel):
    """A part of the manifest: unknown fields are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Policy(Part):
    """How fast replicas may change: so many, or such a share of them, within a period."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


class Rules(Part):
    """One direction's rules: of its policies the one that allows the largest change counts."""

    stabilization_window_seconds: float
    select_policy: Literal["Max"]
    policies: tuple[Policy, ...]

    def compressed(self, by: float) -> "Rules":
        """Return the rules with every time divided by ``by``."""
        policies = [
            policy.model_copy(update={"period_seconds": policy.period_seconds / by})
            for policy in self.policies
        ]
        window_s = self.stabilization_window_seconds / by
        return self.model_copy(
            update={"stabilization_window_seconds": window_s, "policies": tuple(policies)}
        )


class Behavior(Part):
    """Both directions' rules."""

    scale_up: Rules
    scale_down: Rules


class Fallback(Part):
    """The replicas after the metric was missing more than so many times in a row."""

    failure_threshold: int
    replicas: int = Field(ge=1)
    behavior: Literal["currentReplicasIfHigher"]


class Trigger(Part):
    """The metric; over the number of replicas it is compared to the target."""

    type: Literal["metrics-api"] = "metrics-api"
    metadata: dict[str, str]
    metric_type: Literal["AverageValue"] = "AverageValue"

    @property
    def target(self) -> float:
        """The value per replica."""
        return float(self.metadata["targetValue"])

    @property
    def activation(self) -> float:
        """The value above which the trigger is active."""
        return float(self.metadata["activationTargetValue"])


class ScaledObject(Part):
    """The specification of one ScaledObject with one trigger. Times are seconds."""

    scale_target_ref: dict[str, str]
    polling_interval: float
    cooldown_period: float
    min_replica_count: int
    max_replica_count: int
    fallback: Fallback
    behavior: Behavior = Field(
        validation_alias=AliasPath("advanced", "horizontalPodAutoscalerConfig", "behavior")
    )
    triggers: tuple[Trigger]

    @property
    def trigger(self) -> Trigger:
        """The metric."""
        return self.triggers[0]

    @property
    def hpa_min(self) -> int:
        """The least that the HPA made by KEDA may ask for: it never goes to zero itself."""
        return max(1, self.min_replica_count)

    def with_target(self, target: float, activation: float = 0.0) -> "ScaledObject":
        """Return the same object with another target and threshold."""
        values = {"targetValue": str(target), "activationTargetValue": str(activation)}
        trigger = self.trigger.model_copy(update={"metadata": self.trigger.metadata | values})
        return self.model_copy(update={"triggers": (trigger,)})


def scaled_object(manifest: str) -> ScaledObject:
    """Return the one ScaledObject of a rendered manifest.

    Raises:
        ValueError: it has a field that is not modelled, or there is not one.
    """
    documents = [document for document in yaml.safe_load_all(manifest) if document]
    (found,) = (document for document in documents if document["kind"] == "ScaledObject")
    return ScaledObject.model_validate(found["spec"])


def shipped() -> ScaledObject:
    """Return the settings of the manifests that are shipped."""
    return scaled_object(MANIFEST.read_text())


def compressed(scaled: ScaledObject, by: float) -> ScaledObject:
    """Return the object with every time divided by ``by``, its target in seconds included.

    A run in compressed time takes the same decisions as one in real time where its load and its
    workers are as many times as fast.
    """
    up, down = scaled.behavior.scale_up, scaled.behavior.scale_down
    behavior = Behavior(scale_up=up.compressed(by), scale_down=down.compressed(by))
    trigger = scaled.trigger
    return scaled.with_target(trigger.target / by, trigger.activation / by).model_copy(
        update={
            "polling_interval": scaled.polling_interval / by,
            "cooldown_period": scaled.cooldown_period / by,
            "behavior": behavior,
        }
    )
