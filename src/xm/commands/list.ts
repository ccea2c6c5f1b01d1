/** `xm list`, xm-xend 1.4 and 1.9. */
import { domainSxp } from '../../config/domain-sxp.ts';
import { printPretty } from '../../config/sxp.ts';
import type { DomainView } from '../../xend/view.ts';
import { command } from '../command.ts';
import { LIST_LAYOUTS } from '../table.ts';

export const list = command({
  name: 'list',
  group: 'domain',
  params: ['[DOM...]'],
  summary: 'List the domains of this machine',
  details: `
States: r running, b blocked (idle), p paused, s shut down, c crashed.
With domains named, lists these in the order given; otherwise all, by name.`,
  options: {
    long: { type: 'boolean', short: 'l', help: 'print everything known, as SXP' },
  },
  json: true,
  layouts: true,
  async run({ args, flags, xend, out, show, dialect }) {
    const table = !flags.long && !flags.json;
    const layout = LIST_LAYOUTS[dialect];
    // The header comes before the look-ups: a script that asks for a missing domain still sees a table.
    if (table) out(layout.header);
    const print = (domain: DomainView) => {
      if (table) out(layout.row(domain));
      else if (!flags.json) out(printPretty(domainSxp(domain)));
    };
    let found: DomainView[] = [];
    if (args.length === 0) {
      found = await xend.call('GET /domains', {});
      found.forEach(print);
    }
    for (const name of args) {
      found.push(await xend.call('GET /domains/:name', { name }));
      print(found.at(-1)!);
    }
    if (flags.json) show(found, () => '');
  },
});
