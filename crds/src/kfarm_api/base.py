"""What every kind shares: strict models, CEL rules with a Python twin, metadata and conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

GROUP = "kfarm.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
DNS_SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
RESOURCE_NAME_PATTERN = (
    r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL_PATTERN)]
"""A DNS label: lower-case letters, digits and hyphens."""
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN_PATTERN)]
"""A reference to an object by name."""
Text = Annotated[str, Field(min_length=1, max_length=256)]
"""Free text for people; any script."""
ResourceName = Annotated[str, Field(max_length=127, pattern=RESOURCE_NAME_PATTERN)]
"""An extended resource such as ``nvidia.com/gpu``."""
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]


@dataclass(frozen=True)
class ShortKeys:
    """Bounds the keys of a map, which a structural schema cannot."""

    most: int

    @property
    def message(self) -> str:
        """What is allowed, for people."""
        return f"keys must have at most {self.most} characters"

    def check(self, items: dict[str, Any]) -> dict[str, Any]:
        """Return `items` when no key is too long; raise ValueError else."""
        if any(len(key) > self.most for key in items):
            raise ValueError(self.message)
        return items

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler(schema)
        rule = f"self.all(key, key.size() <= {self.most})"
        described["x-kubernetes-validations"] = [{"rule": rule, "message": self.message}]
        return described


Labels = Annotated[dict[str, LabelValue], Field(max_length=32), ShortKeys(317)]
"""Labels as on a Node: a prefix of at most 253 characters, a slash, and a name of 63."""
Percent = Annotated[int, Field(ge=0, le=100)]
ServerDefault = Field(json_schema_extra={"default": {}})
"""Marks a field whose default is an empty object: the API server fills in the rest."""


@dataclass(frozen=True)
class ListOf:
    """How a list merges under server-side apply, and what may not stand in it twice.

    Attributes
    ----------
    keys
        JSON names of the fields that identify an entry (list type ``map``); empty for a list of
        plain values that must differ (list type ``set``).
    """

    keys: tuple[str, ...] = ()

    def check(self, items: list[Any]) -> list[Any]:
        """Return `items` when no entry stands in it twice; raise ValueError else."""
        seen: set[Any] = set()
        for item in items:
            key = self._key(item)
            if key in seen:
                what = ", ".join(self.keys) or "value"
                raise ValueError(f"entries must differ in {what}: {key!r} stands here twice")
            seen.add(key)
        return items

    def _key(self, item: Any) -> Any:
        if not self.keys:
            return item
        values = item.model_dump(by_alias=True, include=self._fields(item))
        return "/".join(str(values[key]) for key in self.keys)

    def _fields(self, item: Any) -> set[str]:
        fields = type(item).model_fields
        return {name for name, field in fields.items() if (field.alias or name) in self.keys}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler(schema)
        described["x-kubernetes-list-type"] = "map" if self.keys else "set"
        if self.keys:
            described["x-kubernetes-list-map-keys"] = list(self.keys)
        return described


BY_NAME = ListOf(("name",))


@dataclass(frozen=True)
class Cel:
    """One rule across fields, said twice: for the API server and for Python.

    Attributes
    ----------
    rule
        CEL expression on ``self``; optional fields are tested with ``has()``.
    message
        What is wrong and the remedy.
    holds
        The same rule on the parsed model.
    """

    rule: str
    message: str
    holds: Callable[[Any], bool]


class Strict(BaseModel):
    """Base of all models: camelCase outside, snake_case inside, unknown fields refused.

    Objects from outside go through `kfarm_api.parse.parse`: with ``strict=False`` the operator
    ignores unknown fields and so survives a newer CRD; with ``strict=True`` the command line
    refuses them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )
    rules: ClassVar[tuple[Cel, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        broken = [rule.message for rule in self.rules if not rule.holds(self)]
        if broken:
            raise ValueError("; ".join(broken))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        if cls.rules:
            target = handler.resolve_ref_schema(schema)
            target["x-kubernetes-validations"] = [
                {"rule": rule.rule, "message": rule.message} for rule in cls.rules
            ]
        return schema

    def as_manifest(self) -> dict[str, Any]:
        """The model as it stands in YAML: camelCase, without what was left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


class Metadata(Strict):
    """The part of ``metadata`` that kfarm reads; the API server keeps the rest."""

    model_config = ConfigDict(extra="ignore")
    name: ObjectName
    namespace: ObjectName | None = None
    uid: str | None = None
    generation: int = 0
    resource_version: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    deletion_timestamp: str | None = None

    @field_validator("labels", "annotations", mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: object) -> object:
        return {} if value is None else value


class Condition(Strict):
    """A Kubernetes condition, as in ``metav1.Condition``."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    message: Annotated[str, Field(max_length=2048)] = ""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    last_transition_time: Annotated[str, Field(max_length=40)]


Conditions = Annotated[list[Condition], Field(max_length=16), ListOf(("type",))]


class LabelSelector(Strict):
    """Selects objects by their labels; an empty selector is refused."""

    match_labels: Annotated[
        dict[str, LabelValue], Field(min_length=1, max_length=32), ShortKeys(317)
    ]


class Reference(Strict):
    """An object of our group by kind and name."""

    kind: Literal["GPUFarm", "NPUFarm"]
    name: Name


@dataclass(frozen=True)
class KindInfo:
    """How a kind is registered with the API server.

    Attributes
    ----------
    columns
        ``kubectl get`` columns: (name, type, JSON path, priority).
    """

    plural: str
    short: str
    scope: Literal["Cluster", "Namespaced"]
    columns: tuple[tuple[str, str, str, int], ...]
    summary: str
