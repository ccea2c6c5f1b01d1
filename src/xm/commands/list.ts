/** `xm list`, xm-xend 1.4 and 1.9. */
import type { DomainView } from '../../xend/view.ts';
import { type Context, command, UserError } from '../command.ts';
import { LIST_LAYOUTS } from '../table.ts';

/** What `--state` asks for, by the letter that says it. */
const STATES: ReadonlyMap<string, string> = new Map([
  ['running', 'r'],
  ['blocked', 'b'],
  ['paused', 'p'],
  ['shutdown', 's'],
  ['crashed', 'c'],
]);

/** Which domains are wanted: all, or those in a state. */
function chosen(state: Context['flags'][string]): (domain: DomainView) => boolean {
  if (state === undefined || state === 'all') return () => true;
  const letter = STATES.get(String(state));
  if (!letter)
    throw new UserError(`list: Invalid value: ${state}: a state is one of all, ${[...STATES.keys()].join(', ')}`);
  return ({ letters }) => letters.includes(letter);
}

/** What wants a look stands out: crashed red, paused yellow, kept after its end dim. */
function coloured(row: string, { letters }: DomainView, paint: Context['paint']): string {
  if (letters.includes('c')) return paint('red', row);
  if (letters.includes('p')) return paint('yellow', row);
  return letters.includes('s') ? paint('dim', row) : row;
}

async function printLong(domains: readonly DomainView[], { dialect, out }: Context): Promise<void> {
  if (dialect === 'xm') {
    const { longText } = await import('../long-list.ts');
    for (const domain of domains) out(longText(domain));
  } else {
    const { xlDomain } = await import('../xl-json.ts');
    out(`${JSON.stringify(domains.map(xlDomain), null, 4)}\n`);
  }
}

export const list = command({
  name: 'list',
  group: 'domain',
  params: ['[DOM...]'],
  summary: 'List the domains of this machine',
  details: `
States: r running, b blocked (idle), p paused, s shut down, c crashed.
With domains named, lists these in the order given; otherwise all, by name.`,
  options: {
    long: { type: 'boolean', short: 'l', help: 'print everything known, as SXP; in the layout of xl as its JSON' },
    verbose: { type: 'boolean', short: 'v', help: 'in the layout of xl: uuids and reasons of shutdowns as well' },
    context: { type: 'boolean', short: 'Z', help: 'in the layout of xl: security labels, of which there are none' },
    cpupool: { type: 'boolean', short: 'c', help: 'in the layout of xl: the pool of CPUs, which is one' },
    numa: { type: 'boolean', short: 'n', help: 'in the layout of xl: the nodes of the machine that it may use' },
    all: { type: 'boolean', short: 'a', help: 'accepted: all are listed in any case' },
    state: {
      type: 'string',
      value: 'STATE',
      help: 'only domains that are running, blocked, paused, shutdown or crashed',
    },
  },
  exclusive: [['long', 'verbose']],
  json: true,
  layouts: true,
  async run(context) {
    const { args, flags, xend, out, show, dialect, paint } = context;
    const wanted = chosen(flags.state);
    const table = !flags.long && !flags.json;
    const layout = LIST_LAYOUTS[dialect];
    const columns = {
      verbose: flags.verbose === true,
      context: flags.context === true,
      cpupool: flags.cpupool === true,
      numa: flags.numa === true,
    };
    // The header comes before the look-ups: a script that asks for a missing domain still sees a table.
    if (table) out(paint('bold', layout.header(columns)));
    const found: DomainView[] = [];
    const take = (domain: DomainView) => {
      if (!wanted(domain)) return;
      found.push(domain);
      if (table) out(coloured(layout.row(domain, columns), domain, paint));
    };
    if (args.length === 0) for (const domain of await xend.call('GET /domains', {})) take(domain);
    for (const name of args) take(await xend.call('GET /domains/:name', { name }));
    if (flags.json) show(found, () => '');
    else if (flags.long) await printLong(found, context);
  },
});
