/**
 * Shell completion: commands, kinds, and names of resources. Kinds are written into the script;
 * names are asked of the datastore when the key is pressed, and a failure there offers none.
 */
import { KINDS } from "#resource";

/** Commands that take a kind; those of the second list a name after it, too. */
const WITH_KIND = "get|delete|label|patch|explain";
const WITH_NAME = "get|delete|label|patch";

/** `undefined` for a shell that is not known. */
export function completionScript(shell: string, commands: readonly string[]): string | undefined {
  const kinds = KINDS.flatMap(({ plural, shortNames }) => [plural, ...shortNames]).toSorted();
  switch (shell) {
    case "bash":
      return bash(commands, kinds);
    case "zsh":
      return `#compdef margay\nautoload -U +X bashcompinit && bashcompinit\n${bash(commands, kinds)}`;
    case "fish":
      return fish(commands, kinds);
    default:
      return undefined;
  }
}

function bash(commands: readonly string[], kinds: readonly string[]): string {
  return `_margay() {
  local word=\${COMP_WORDS[COMP_CWORD]} names i
  local scope=()
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.join(" ")}" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[COMP_CWORD-1]}" in -f | --filename | -c | --config) return ;; esac
  case "\${COMP_WORDS[1]}" in ${WITH_KIND.replaceAll("|", " | ")}) ;; *) return ;; esac
  if [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "${kinds.join(" ")}" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in ${WITH_NAME.replaceAll("|", " | ")}) ;; *) return ;; esac
  for ((i = 3; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -n | --namespace) scope=(-n "\${COMP_WORDS[i+1]}") ;;
    esac
  done
  names=$(margay get "\${COMP_WORDS[2]}" "\${scope[@]}" -o name 2>/dev/null)
  COMPREPLY=($(compgen -W "$(printf '%s\\n' "$names" | sed 's|.*/||')" -- "$word"))
}
complete -o default -F _margay margay
`;
}

function fish(commands: readonly string[], kinds: readonly string[]): string {
  const kindCommands = WITH_KIND.replaceAll("|", " ");
  const nameCommands = WITH_NAME.replaceAll("|", " ");
  return `function __margay_words
  count (commandline -opc)
end
function __margay_names
  set -l words (commandline -opc)
  margay get $words[3] -o name 2>/dev/null | string replace -r '.*/' ''
end
complete -c margay -n __fish_use_subcommand -f -a "${commands.join(" ")}"
complete -c margay -n "__fish_seen_subcommand_from ${kindCommands}; and test (__margay_words) -eq 2" -f -a "${kinds.join(" ")}"
complete -c margay -n "__fish_seen_subcommand_from ${nameCommands}; and test (__margay_words) -ge 3" -f -a "(__margay_names)"
`;
}
