/** `xm completion SHELL`. */
import { command, UserError } from '../command.ts';

export const completion = command({
  name: 'completion',
  group: 'general',
  params: ['SHELL'],
  summary: 'Print a script that lets bash, zsh or fish complete xm',
  details: `
In bash:  source <(xm completion bash)
In zsh:   source <(xm completion zsh)        after compinit
In fish:  xm completion fish | source
To have it always, write it to a file where the shell looks: ~/.local/share/bash-completion/completions/xm, a file _xm in a
folder of zsh's $fpath, ~/.config/fish/completions/xm.fish.`,
  async run({ args, out }) {
    // Loaded here: this command is one of those that it is about.
    const [{ completionScript, SHELLS }, { allCommands }] = await Promise.all([
      import('../completion.ts'),
      import('./index.ts'),
    ]);
    const shell = SHELLS.find((one) => one === args[0]);
    if (!shell) throw new UserError(`completion: Invalid value: ${args[0]}: SHELL is one of ${SHELLS.join(', ')}`);
    out(completionScript(shell, await allCommands()));
  },
});
