/** `xm list`, xm-xend 1.4. */
import { domainSxp } from '../../config/domain-sxp.ts';
import { printPretty } from '../../config/sxp.ts';
import { command } from '../command.ts';
import { LIST_HEADER, listRow } from '../table.ts';

export const list = command({
  name: 'list',
  group: 'domain',
  usage: '[-l|--long] [--json] [DOM...]',
  summary: 'List the domains of this machine',
  details: `
States: r running, b blocked (idle), p paused, s shut down, c crashed.
With domains named, lists these in the order given; otherwise all, by name.`,
  options: {
    long: { type: 'boolean', short: 'l', help: 'print everything known, as SXP' },
    json: { type: 'boolean', help: 'print everything known, as JSON' },
  },
  args: [0, Number.POSITIVE_INFINITY],
  async run({ args, flags, xend, out }) {
    const table = !flags.long && !flags.json;
    // The header comes before the look-ups: a script that asks for a missing domain still sees a table.
    if (table) out(LIST_HEADER);
    const found = args.length === 0 ? await xend.call('GET /domains', {}) : [];
    const show = (domain: (typeof found)[number]) => {
      if (table) out(listRow(domain));
      else if (flags.long) out(printPretty(domainSxp(domain)));
    };
    for (const name of args) {
      const domain = await xend.call('GET /domains/:name', { name });
      found.push(domain);
      show(domain);
    }
    if (args.length === 0) found.forEach(show);
    if (flags.json) out(`${JSON.stringify(found, null, 2)}\n`);
  },
});
