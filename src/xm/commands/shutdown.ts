/** `xm shutdown` and `xm reboot`: ask the guest, xm-xend 1.7. */
import type { XendClient } from '../../sdk/client.ts';
import type { ShutdownReason } from '../../xend/xend.ts';
import { type Context, command, UserError } from '../command.ts';

const POLL_MS = 250;
const PATIENCE_MS = 60_000;
/** So often in a row xend may be away, as when it is restarted, before waiting is given up. */
const SILENCES_MAX = 80;

interface Asked {
  readonly name: string;
  readonly uuid: string;
  readonly builds: number;
}

/** Ask one domain, or all except Domain-0. */
async function ask({ args, flags, xend }: Context, reason: ShutdownReason): Promise<Asked[]> {
  if (args.length === 0 && !flags.all) throw new UserError('Missing domain');
  if (args.length > 0 && flags.all) throw new UserError("Can't specify a domain together with --all");
  const names = flags.all
    ? (await xend.call('GET /domains', {})).filter(({ domid }) => domid !== 0).map(({ name }) => name)
    : [(await xend.call('GET /domains/:name', { name: args[0]! })).name];
  const asked: Asked[] = [];
  for (const name of names) {
    asked.push({ name, ...(await xend.call('POST /domains/:name/shutdown', { name, reason })) });
  }
  return asked;
}

/** Returns when the domain is gone, or kept after its end. Goes on across a restart of xend. */
async function waitEnd(xend: XendClient, { name, uuid }: Asked, note: (text: string) => void): Promise<void> {
  const patience = setTimeout(
    () =>
      note(`Warning: ${name} has not ended after ${PATIENCE_MS / 1000} s; still waiting (xm destroy ends it at once)`),
    PATIENCE_MS,
  );
  try {
    for (let silences = 0; silences < SILENCES_MAX; ) {
      try {
        const { exit } = await xend.call('GET /exits/:uuid', { uuid, waitS: 1 });
        if (exit) return;
        if ((await xend.call('GET /domains/:name', { name: uuid })).state === 'shutdown') return;
        silences = 0;
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === 'domain-not-found' || code === 'exit-not-found') return;
        if (code !== 'no-xend' || ++silences >= SILENCES_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
  } finally {
    clearTimeout(patience);
  }
}

async function waitReboot(xend: XendClient, { name, uuid, builds }: Asked): Promise<void> {
  for (;;) {
    const domain = await xend.call('GET /domains/:name', { name: uuid }).catch((error) => {
      if (error.code === 'domain-not-found') throw new UserError(`${name} ended instead of rebooting`);
      throw error;
    });
    if (domain.builds > builds && domain.state === 'running') return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function rebootAndWait(context: Context): Promise<void> {
  const asked = await ask(context, 'reboot');
  if (!context.flags.wait) return;
  for (const one of asked) {
    await waitReboot(context.xend, one);
    context.out(`Domain ${one.name} rebooted\n`);
  }
}

export const shutdown = command({
  name: 'shutdown',
  group: 'domain',
  params: ['[DOM]'],
  summary: "Ask a domain's guest to shut down",
  details: `
The guest does it in its own time, or not at all: xm destroy does not ask. What becomes of the domain then is what on_poweroff
in its configuration says.`,
  options: {
    all: { type: 'boolean', short: 'a', help: 'all domains except Domain-0' },
    wait: { type: 'boolean', short: 'w', help: 'wait until they are gone (implies -H)' },
    halt: { type: 'boolean', short: 'H', help: 'end it even if its configuration says restart' },
    reboot: { type: 'boolean', short: 'R', help: 'restart it even if its configuration says destroy' },
  },
  exclusive: [
    ['wait', 'reboot'],
    ['halt', 'reboot'],
  ],
  async run(context) {
    const { flags, xend, out, note } = context;
    if (flags.reboot) return rebootAndWait(context);
    const asked = await ask(context, flags.halt || flags.wait ? 'halt' : 'poweroff');
    if (!flags.wait) return;
    await Promise.all(
      asked.map(async (one) => {
        await waitEnd(xend, one, note);
        out(`Domain ${one.name} terminated\n`);
      }),
    );
    out('All domains terminated\n');
  },
});

export const reboot = command({
  name: 'reboot',
  group: 'domain',
  params: ['[DOM]'],
  summary: "Ask a domain's guest to restart",
  details: 'The domain keeps its name, its id and its console.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'all domains except Domain-0' },
    wait: { type: 'boolean', short: 'w', help: 'wait until the new kernel runs' },
  },
  run: rebootAndWait,
});
