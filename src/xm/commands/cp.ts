/** `xm cp`: files into a domain and out of it, through its agent. */
import { AgentError } from '../../host/agent-link.ts';
import { CopyError } from '../../host/copy-error.ts';
import { copyFromGuest, copyToGuest } from '../../host/guest-files.ts';
import { command, UserError } from '../command.ts';
import { Interrupts } from '../interrupts.ts';
import { seconds } from './exec.ts';

const MIB = 1 << 20;
/** DOM:PATH. A file of this machine that looks like it is written ./DOM:PATH. */
const IN_DOMAIN = /^([^/]+?):(.*)$/s;

export const cp = command({
  name: 'cp',
  group: 'domain',
  params: ['SOURCE', 'TARGET'],
  summary: 'Copy files into a domain and out of it',
  details: `
One of SOURCE and TARGET is DOM:PATH, a place in the domain, the other is here. Folders are copied with all that is in them, with
their permissions and times. Into a folder that is there already, SOURCE goes under its own name. What is interrupted leaves
nothing behind. Needs the agent in the guest, which Domus' own images have.`,
  options: { wait: { type: 'string', value: 'SECONDS', help: 'wait so long for a guest that is still booting' } },
  async run({ args, flags, xend, note, progress }) {
    const [source, target] = [args[0]!, args[1]!];
    const [from, to] = [IN_DOMAIN.exec(source), IN_DOMAIN.exec(target)];
    if (from && to) throw new UserError('cp: from one domain to another it goes by way of this machine');
    const there = from ?? to;
    if (!there) throw new UserError('cp: one of the two is in a domain: DOM:PATH');
    const [, name, place] = there;
    if (!place!.startsWith('/')) throw new UserError(`cp: ${there[0]}: the path in the domain begins with /`);
    const { socket } = await xend.call('GET /domains/:name/agent', { name: name! });
    using interrupts = new Interrupts();
    const options = {
      signal: interrupts.signal,
      waitMs: seconds('wait', flags.wait) ?? 0,
      note: (text: string) => note(`Warning: ${text}`),
      progress: (bytes: number) => progress(`${(bytes / MIB).toFixed(1)} MiB`),
    };
    try {
      if (from) await copyFromGuest(socket, place!, target, options);
      else await copyToGuest(socket, source, place!, options);
    } catch (error) {
      if (interrupts.exitCode !== undefined) return interrupts.exitCode;
      if (error instanceof CopyError || error instanceof AgentError) throw new UserError(`cp: ${error.message}`);
      throw error;
    }
    return 0;
  },
});
