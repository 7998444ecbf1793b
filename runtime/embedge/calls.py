"""What a call means: which task's network runs, and which prompt stands before every text.

Takes the options of a call and the pack's manifest, gives the task's name and the prompt's text;
pure, and runs nothing.
"""

from collections.abc import Iterable

from embedge.errors import OptionError
from embedge.pack.manifest import Manifest

# Names of the hosted API: a task and a prompt in one word. A pack may call the prompt by any of the
# names, in the order that Sentence Transformers documents for encode_document.
ALIASES = {
    "retrieval.query": ("retrieval", ("query",)),
    "retrieval.passage": ("retrieval", ("document", "passage", "corpus")),
}


def resolve(
    manifest: Manifest, task: str | None, prompt_name: str | None, prompt: str | None
) -> tuple[str, str]:
    """The task and the prompt text that a call means.

    Raises:
        OptionError: the pack has no such task or prompt, or the options contradict each other.
    """
    if prompt is not None and prompt_name is not None:
        raise OptionError("prompt= and prompt_name= are both given; leave one out")
    given = {"task": task, "prompt_name": prompt_name, "prompt": prompt}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise OptionError(f"{name} is {type(value).__name__}, not str")
    if task is None:
        task = manifest.default_task
    elif task in ALIASES and task not in manifest.tasks and ALIASES[task][0] in manifest.tasks:
        alias, task = task, ALIASES[task][0]
        meant = alias_prompt(manifest, alias)
        if prompt_name is not None and prompt_name != meant:
            raise OptionError(
                f"task {alias!r} means the prompt {meant!r}, and prompt_name is {prompt_name!r}; "
                f"pass task={task!r} to choose the prompt yourself"
            )
        if prompt is None:
            prompt_name, prompt = alias_options(manifest, alias)
    if task not in manifest.tasks:
        raise OptionError(f"task {task!r} is not in this pack; it has {_names(manifest.tasks)}")
    if prompt is not None:
        return task, prompt
    if prompt_name is None:
        # A model whose tasks have instructions of their own says so by a prompt of that name; it
        # stands before a text where the task was asked for, not where it is the default.
        prompt_name = (
            given["task"] if given["task"] in manifest.prompts else manifest.default_prompt
        )
    if prompt_name is None:
        return task, ""
    if prompt_name not in manifest.prompts:
        raise OptionError(
            f"prompt_name {prompt_name!r} is not in this pack; it has {_names(manifest.prompts)} "
            "(or pass the text itself as prompt=)"
        )
    return task, manifest.prompts[prompt_name]


def alias_task(manifest: Manifest, alias: str) -> str | None:
    """The task that an alias means; None where the pack does not have it."""
    task, _ = ALIASES[alias]
    return next((name for name in (alias, task) if name in manifest.tasks), None)


def alias_prompt(manifest: Manifest, alias: str) -> str | None:
    """The name of the prompt that an alias means; None where the pack has no such prompt."""
    _, names = ALIASES[alias]
    return next((name for name in (alias, *names) if name in manifest.prompts), None)


def alias_options(manifest: Manifest, alias: str) -> tuple[str | None, str | None]:
    """The options `prompt_name` and `prompt` of a call that means an alias.

    Where the pack has no such prompt, nothing stands before a text, as in Sentence Transformers:
    the default prompt is that of plain `encode`, and may be the other side's.
    """
    name = alias_prompt(manifest, alias)
    return (name, None) if name is not None else (None, "")


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
