/**
 * Shell completion made from the command values: names, options, what stands for each argument and option value. Domains are
 * asked of `xm list` when they are wanted; everything else is in the script, so that completing starts no other program.
 */
import { VARIABLES } from '../config/variables.ts';
import { type Command, type Completion, optionsOf, PARAMS } from './command.ts';
import { optionWords } from './help.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A command as completion sees it. */
interface Entry {
  readonly names: readonly string[];
  readonly summary: string;
  readonly options: readonly { readonly words: readonly string[]; readonly value?: Kind; readonly help: string }[];
  /** What stands at each place; the last one goes on when `repeats`. */
  readonly places: readonly Kind[];
  readonly repeats: boolean;
}
type Kind = Completion | 'none';

const kindOf = (param: string): Kind => PARAMS[param.replace(/[[\].]/g, '')] ?? 'none';

function entry(command: Command): Entry {
  const { name, aliases = [], params = [], summary } = command;
  return {
    names: [name, ...aliases],
    summary,
    options: Object.entries(optionsOf(command)).map(([long, option]) => ({
      words: optionWords(long, option),
      ...(option.type === 'string' ? { value: kindOf(option.value ?? '') } : {}),
      help: option.help,
    })),
    places: params.map(kindOf),
    repeats: params.at(-1)?.includes('...') ?? false,
  };
}

/** The script for a shell, which completes `programs`. */
export function completionScript(shell: Shell, commands: readonly Command[], programs = ['xm', 'xl']): string {
  const entries = commands.map(entry);
  return { bash, zsh, fish }[shell](entries, programs);
}

const names = (entries: readonly Entry[]): string =>
  entries
    .flatMap((one) => one.names)
    .sort()
    .join(' ');
const variables = VARIABLES.filter(({ standing }) => standing === 'used').map(({ name }) => `${name}=`);

/** One line a command, for both shells that take the Bourne shell's words. */
function cases(entries: readonly Entry[]): string {
  const one = ({ names: all, options, places, repeats }: Entry): string => {
    const words = options.flatMap((option) => option.words);
    const values = options.flatMap((option) => option.words.map((word) => option.value && `${word}=${option.value}`));
    const fields = [
      `options='${words.join(' ')}'`,
      `values=' ${values.filter(Boolean).join(' ')} '`,
      `places='${places.join(' ')}'`,
      ...(repeats ? ['repeats=1'] : []),
    ];
    return `    ${all.join('|')}) ${fields.join(' ')} ;;`;
  };
  return entries.map(one).join('\n');
}

/** Finds out what stands at the place of the cursor; `word N` and `count` are the shell's own. */
const PLACE = `  case $values in
    *" $before="*) kind=\${values#*" $before="}; kind=\${kind%%" "*} ;;
    *)
      for (( i = first + 1; i < here; i++ )); do
        word=\${words[i]}
        case $word in
          -*) case $values in *" $word="*) i=$((i + 1)) ;; esac ;;
          *) n=$((n + 1)) ;;
        esac
      done
      for word in $(echo $places); do
        if [ $n -eq 0 ]; then kind=$word; fi
        last=$word
        n=$((n - 1))
      done
      if [ -z "$kind" ] && [ -n "$repeats" ]; then kind=$last; fi ;;
  esac`;

const bash = (
  entries: readonly Entry[],
  programs: readonly string[],
): string => `# bash completion for ${programs.join(' and ')}, made by: xm completion bash
_xm() {
  local cur=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} first=1 here=$COMP_CWORD
  local -a words=("\${COMP_WORDS[@]}")
  local options='' values='' places='' repeats='' kind='' last='' word='' n=0 i
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${names(entries)}' -- "$cur"))
    return
  fi
  case \${words[1]} in
${cases(entries)}
  esac
${PLACE}
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  case $kind in
    domain) COMPREPLY=($(compgen -W "$("\${words[0]}" list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur")) ;;
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    folder) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    command) COMPREPLY=($(compgen -W '${names(entries)}' -- "$cur")) ;;
    shell) COMPREPLY=($(compgen -W '${SHELLS.join(' ')}' -- "$cur")) ;;
    variable) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -W '${variables.join(' ')}' -- "$cur")) ;;
  esac
}
complete -F _xm ${programs.join(' ')}
`;

const zshText = (text: string): string => text.replaceAll("'", "'\\''").replaceAll(':', '\\:');

const zsh = (entries: readonly Entry[], programs: readonly string[]): string => `#compdef ${programs.join(' ')}
# zsh completion for ${programs.join(' and ')}, made by: xm completion zsh
_xm() {
  local before=\${words[CURRENT-1]} first=2 here=$CURRENT
  local options='' values='' places='' repeats='' kind='' last='' word='' n=0 i
  if (( CURRENT == 2 )); then
    local -a commands=(
${entries.flatMap((one) => one.names.map((name) => `      '${name}:${zshText(one.summary)}'`)).join('\n')}
    )
    _describe command commands
    return
  fi
  case \${words[2]} in
${cases(entries)}
  esac
${PLACE}
  if [[ \${words[CURRENT]} == -* ]]; then
    compadd -- \${=options}
    return
  fi
  case $kind in
    domain) compadd -- \${(f)"$(\${words[1]} list 2>/dev/null | awk 'NR > 1 { print $1 }')"} ;;
    file) _files ;;
    folder) _files -/ ;;
    command) compadd -- ${names(entries)} ;;
    shell) compadd -- ${SHELLS.join(' ')} ;;
    variable) compadd -S '' -- ${variables.join(' ')} ;;
  esac
}
if [ "$funcstack[1]" = _xm ]; then _xm "$@"; else compdef _xm ${programs.join(' ')}; fi
`;

const fishText = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** What follows `complete -c PROGRAM ...` for a place of this kind. */
const FISH_ARGUMENTS: Readonly<Record<Kind, (all: string) => string>> = {
  domain: () => "-f -a '(__fish_xm_domains)'",
  file: () => '-F',
  folder: () => "-f -a '(__fish_complete_directories)'",
  command: (all) => `-f -a '${all}'`,
  shell: () => `-f -a '${SHELLS.join(' ')}'`,
  variable: () => `-f -a '${variables.join(' ')}'`,
  none: () => '-f',
};

function fish(entries: readonly Entry[], programs: readonly string[]): string {
  const all = names(entries);
  const lines = [
    `# fish completion for ${programs.join(' and ')}, made by: xm completion fish`,
    'function __fish_xm_domains',
    '    set -l words (commandline -opc)',
    "    $words[1] list 2>/dev/null | awk 'NR > 1 { print $1 }'",
    'end',
  ];
  for (const program of programs) {
    lines.push(`complete -c ${program} -f`);
    for (const { names: own, summary, options, places } of entries) {
      for (const name of own)
        lines.push(`complete -c ${program} -n __fish_use_subcommand -a ${name} -d ${fishText(summary)}`);
      const seen = `-n '__fish_seen_subcommand_from ${own.join(' ')}'`;
      for (const kind of new Set(places.filter((one) => one !== 'none')))
        lines.push(`complete -c ${program} ${seen} ${FISH_ARGUMENTS[kind](all)}`);
      for (const { words, value, help } of options) {
        const spelt = words.map((word) => (word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`));
        const takes = value ? ` -r ${FISH_ARGUMENTS[value](all)}` : '';
        lines.push(`complete -c ${program} ${seen} ${spelt.join(' ')}${takes} -d ${fishText(help)}`);
      }
    }
  }
  return `${lines.join('\n')}\n`;
}
