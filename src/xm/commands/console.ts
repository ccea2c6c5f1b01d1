/** `xm console` and `xm consoles`, xm-xend 1.4 and 1.5. */
import type { XendClient } from '../../sdk/client.ts';
import { command } from '../command.ts';
import { line } from '../table.ts';
import { type Attachment, attach } from '../terminal.ts';

/** So long a domain that has ended is followed: it is gone, kept or running again by then. */
const ENDING_ROUNDS = 10;
const ROUND_S = 0.5;

interface End {
  readonly name: string;
  readonly domid: number;
  readonly kind: string;
  readonly report: readonly string[];
}

/** How a domain ended that is gone or kept; undefined when nobody can tell. */
async function endOf(uuid: string, xend: XendClient): Promise<End | undefined> {
  for (let round = 0; round < ENDING_ROUNDS; round++) {
    // xend can be gone or restarting; the console worked without it.
    const answer = await xend.call('GET /exits/:uuid', { uuid, waitS: ROUND_S }).catch(() => undefined);
    if (!answer || answer.exit) return answer?.exit;
    const kept = await xend.call('GET /domains/:name', { name: uuid }).catch(() => undefined);
    if (kept?.state === 'shutdown' && kept.shutdownReason)
      return { name: kept.name, domid: kept.domid, kind: kept.shutdownReason, report: [] };
  }
  return undefined;
}

/** Stay on a console until it ends; if the domain crashed, say so in one line. Returns the exit code. */
export async function watchConsole(
  { ended }: Attachment,
  uuid: string,
  xend: XendClient,
  note: (text: string) => void,
): Promise<number> {
  if ((await ended) === 'detached') return 0;
  const end = await endOf(uuid, xend);
  if (end?.kind !== 'crash' && end?.kind !== 'watchdog') return 0;
  const [why] = end.report;
  note(`Error: domain ${end.domid} "${end.name}" crashed${why ? `: ${why}` : ''} (xm dmesg tells more)`);
  return 1;
}

export const consoleCommand = command({
  name: 'console',
  group: 'console',
  params: ['DOM'],
  summary: "Attach to a domain's console; Ctrl-] detaches",
  details: `
What was printed before is shown first. Any number of people can be attached; one of them types: who came first, and after
that one has left, who came next. The others are told who it is. Where standard input is not a terminal, its bytes go to
the guest as they are, when it is their turn, and the command ends when the domain does.`,
  options: {
    quiet: { type: 'boolean', short: 'q', help: 'no greeting' },
    force: { type: 'boolean', short: 'f', help: 'take over from whoever types now' },
    watch: { type: 'boolean', short: 'w', help: 'look only, never type' },
  },
  exclusive: [['force', 'watch']],
  async run({ args, flags, xend, note }) {
    const { socket, uuid } = await xend.call('GET /domains/:name/console', { name: args[0]! });
    const mode = flags.force ? 'force' : flags.watch ? 'watch' : 'write';
    return watchConsole(await attach(socket, { quiet: flags.quiet === true, mode }), uuid, xend, note);
  },
});

export const consoles = command({
  name: 'consoles',
  group: 'console',
  summary: "List the domains' consoles",
  details: `
Port is a TCP port of this machine, for telnet or xencons; Connection is who types on the console now.`,
  json: true,
  async run({ xend, show }) {
    const rows = (await xend.call('GET /domains', {})).flatMap(({ domid, consolePort, console: about }) =>
      about ? [{ domid, port: consolePort, ...about }] : [],
    );
    show(rows, () => {
      const table = rows.map(({ domid, port, id, writer }) =>
        line('%3s %4s %3s %s', domid, port ?? '', id, writer ?? ''),
      );
      return `Dom Port  Id Connection\n${table.join('')}`;
    });
  },
});
