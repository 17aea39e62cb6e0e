# SPDX-License-Identifier: MIT
"""What completes the commands in bash and in zsh, from their declared options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miredo.commands.usage import Kind

if TYPE_CHECKING:
    from miredo.commands.usage import Command, Option

_IN_BASH = {Kind.FILE: "-f", Kind.DIRECTORY: "-d", Kind.USER: "-u", Kind.HOST: "-A hostname"}
"""What compgen is asked for, by the kind of a value."""
_IN_ZSH = {Kind.FILE: "_files", Kind.DIRECTORY: "_files -/", Kind.USER: "_users", Kind.HOST: "_hosts"}

_BASH = """\
# SPDX-License-Identifier: MIT
# bash completion of {name}; made from its options.

{function}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} asked
    # --word=value is three words here.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $previous in
{values}
        *)
            if [[ $current == -* ]]; then
                asked='-W "{options}"'
            else
                asked='{operand}'
            fi
            ;;
    esac
    case $asked in
        -f | -d) compopt -o filenames 2> /dev/null ;;
    esac
    mapfile -t COMPREPLY < <(eval "compgen $asked" -- '"$current"')
}}
complete -F {function} {name}
"""


def bash(command: Command) -> str:
    """The file for C{share/bash-completion/completions}."""
    values = [
        f"        -{one.letter} | --{one.word}) asked='{_IN_BASH[one.value.kind]}' ;;"
        for one in command.options
        if one.value is not None
    ]
    return _BASH.format(
        name=command.name,
        function=f"_{command.name.replace('-', '_')}",
        values="\n".join(values),
        options=" ".join(word for one in command.options for word in (f"-{one.letter}", f"--{one.word}")),
        operand=_IN_BASH[command.operand.value.kind] if command.operand else "-W ''",
    )


def zsh(command: Command) -> str:
    """The file for C{share/zsh/site-functions}, which is called C{_command}."""
    specifications = [_zsh_option(one) for one in command.options]
    if operand := command.operand:
        specifications.append(f"'1:{operand.value.word}:{_IN_ZSH[operand.value.kind]}'")
    lines = " \\\n".join(f"    {one}" for one in specifications)
    return f"#compdef {command.name}\n# SPDX-License-Identifier: MIT\n\n_arguments -s \\\n{lines}\n"


def _zsh_option(option: Option) -> str:
    meaning = option.meaning.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]")
    both = f"'(-{option.letter} --{option.word})'"
    if option.value is None:
        return f"{both}{{-{option.letter},--{option.word}}}'[{meaning}]'"
    taken = f":{option.value.word}:{_IN_ZSH[option.value.kind]}"
    return f"{both}{{-{option.letter}+,--{option.word}=}}'[{meaning}]{taken}'"
