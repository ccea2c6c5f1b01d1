/** `xm shutdown` and `xm reboot`: ask the guest, xm-xend 1.7. */
import type { XendClient } from '../../sdk/client.ts';
import type { ShutdownReason } from '../../xend/xend.ts';
import { type Context, command, UserError } from '../command.ts';
import { wholeNumber } from '../parse.ts';

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
async function ask({ args, flags, xend, note, dialect }: Context, reason: ShutdownReason): Promise<Asked[]> {
  if (args.length === 0 && !flags.all) throw new UserError('Missing domain');
  if (args.length > 0 && flags.all) throw new UserError("Can't specify a domain together with --all");
  const domains = flags.all
    ? (await xend.call('GET /domains', {})).filter(({ domid }) => domid !== 0)
    : [await xend.call('GET /domains/:name', { name: args[0]! })];
  const asked: Asked[] = [];
  for (const { name, domid } of domains) {
    // xl says so on standard error (xm-xend 1.8).
    if (dialect === 'xl') note(`${reason === 'reboot' ? 'Rebooting' : 'Shutting down'} domain ${domid}`);
    try {
      asked.push({ name, ...(await xend.call('POST /domains/:name/shutdown', { name, reason })) });
    } catch (error) {
      // One that cannot even be asked is ended at once where that was wanted, and must not keep the others from being asked.
      if (flags.force) await xend.call('POST /domains/:name/destroy', { name });
      else if (flags.all) note(`Warning: ${name}: ${(error as Error).message}`);
      else throw error;
    }
  }
  return asked;
}

/**
 * True when the domain is gone, or kept after its end; false when it is neither after `limitMs`. Goes on across a restart of
 * xend.
 */
async function waitEnd(
  xend: XendClient,
  { name, uuid }: Asked,
  limitMs: number,
  note: (text: string) => void,
): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  const patience = setTimeout(
    () =>
      note(`Warning: ${name} has not ended after ${PATIENCE_MS / 1000} s; still waiting (xm destroy ends it at once)`),
    PATIENCE_MS,
  );
  try {
    for (let silences = 0; silences < SILENCES_MAX; ) {
      try {
        const waitS = Math.max(0, Math.min(1, (deadline - performance.now()) / 1000));
        const { exit } = await xend.call('GET /exits/:uuid', { uuid, waitS });
        if (exit) return true;
        if ((await xend.call('GET /domains/:name', { name: uuid })).state === 'shutdown') return true;
        if (performance.now() >= deadline) return false;
        silences = 0;
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === 'domain-not-found' || code === 'exit-not-found') return true;
        if (code !== 'no-xend' || ++silences >= SILENCES_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
  } finally {
    clearTimeout(patience);
  }
  return false;
}

/** Seconds of `--timeout` in milliseconds; without it as long as it takes, or with `--force` a minute. */
function limitOf({ flags }: Context): number {
  if (flags.timeout !== undefined) return 1000 * wholeNumber('shutdown', String(flags.timeout), 'timeout', 0, 86_400);
  return flags.force ? PATIENCE_MS : Number.POSITIVE_INFINITY;
}

/** Wait for all ends; what has not ended in time is destroyed if that was wanted. Returns the exit code. */
async function waitEnds(context: Context, asked: readonly Asked[]): Promise<number> {
  const { flags, xend, out, note } = context;
  const limit = limitOf(context);
  const left = new Set(asked.map(({ name }) => name));
  const tell = () => context.progress(left.size > 0 ? `waiting for ${[...left].join(', ')} to end ...` : undefined);
  tell();
  const ended = await Promise.all(
    asked.map(async (one) => {
      let gone = await waitEnd(xend, one, limit, note);
      left.delete(one.name);
      tell();
      if (!gone && flags.force) {
        await xend.call('POST /domains/:name/destroy', { name: one.uuid });
        gone = true;
        out(`Domain ${one.name} destroyed\n`);
      } else if (gone) out(`Domain ${one.name} terminated\n`);
      else note(`Error: ${one.name} has not ended after ${limit / 1000} s (-F would destroy it)`);
      return gone;
    }),
  );
  if (!ended.every(Boolean)) return 1;
  out('All domains terminated\n');
  return 0;
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

async function rebootAndWait(context: Context): Promise<number> {
  const asked = await ask(context, 'reboot');
  if (!context.flags.wait) return 0;
  for (const one of asked) {
    await waitReboot(context.xend, one);
    context.out(`Domain ${one.name} rebooted\n`);
  }
  return 0;
}

export const shutdown = command({
  name: 'shutdown',
  group: 'domain',
  params: ['[DOM]'],
  summary: "Ask a domain's guest to shut down",
  details: `
The guest does it in its own time, or not at all: xm destroy does not ask, and -F asks first and destroys then. What becomes
of the domain is what on_poweroff in its configuration says.`,
  options: {
    all: { type: 'boolean', short: 'a', help: 'all domains except Domain-0' },
    wait: { type: 'boolean', short: 'w', help: 'wait until they are gone (implies -H)' },
    halt: { type: 'boolean', short: 'H', help: 'do not restart it, whatever its configuration says' },
    timeout: { type: 'string', value: 'SECONDS', help: 'wait so long; exit code 1 if a domain has not ended then' },
    force: { type: 'boolean', short: 'F', help: 'destroy what has not ended in time (60 s without --timeout)' },
    reboot: { type: 'boolean', short: 'R', help: 'restart it even if its configuration says destroy' },
  },
  exclusive: [
    ['wait', 'reboot'],
    ['halt', 'reboot'],
    ['force', 'reboot'],
    ['timeout', 'reboot'],
  ],
  async run(context) {
    const { flags } = context;
    limitOf(context); // A wrong value is refused before anybody is asked.
    if (flags.reboot) return rebootAndWait(context);
    const wait = flags.wait || flags.force || flags.timeout !== undefined;
    const asked = await ask(context, flags.halt || wait ? 'halt' : 'poweroff');
    return wait ? waitEnds(context, asked) : 0;
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
