/** `xm uptime` and `xm vm-list`, xm-xend 1.8 and 1.9. */
import type { XendClient } from '../../sdk/client.ts';
import type { DomainView } from '../../xend/view.ts';
import { command } from '../command.ts';
import { line } from '../table.ts';

/** Those named, in the order given, or all. */
async function domainsOf(xend: XendClient, names: readonly string[]): Promise<DomainView[]> {
  if (names.length === 0) return xend.call('GET /domains', {});
  const found: DomainView[] = [];
  for (const name of names) found.push(await xend.call('GET /domains/:name', { name }));
  return found;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** `1 day,  4:05:06`; without seconds for the short form. */
export function duration(seconds: number, withSeconds: boolean): string {
  const whole = Math.floor(seconds);
  const days = Math.floor(whole / 86_400);
  const hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  const clock = `${String(hours).padStart(2)}:${two(minutes)}${withSeconds ? `:${two(whole % 60)}` : ''}`;
  return days === 0 ? clock : `${days} day${days === 1 ? '' : 's'}, ${clock}`;
}

export const uptime = command({
  name: 'uptime',
  group: 'domain',
  params: ['[DOM...]'],
  summary: 'Print for how long domains have been running',
  options: { short: { type: 'boolean', short: 's', help: 'one line a domain, with the time of day' } },
  json: true,
  async run({ args, flags, xend, show }) {
    const domains = await domainsOf(xend, args);
    const now = new Date().toTimeString().slice(0, 8);
    show(
      domains.map(({ name, domid, upTimeS }) => ({ name, domid, upTimeS })),
      () => {
        if (flags.short) {
          return domains
            .map(({ name, domid, upTimeS }) => ` ${now} up ${duration(upTimeS, false)}, ${name} (${domid})\n`)
            .join('');
        }
        const rows = domains.map(({ name, domid, upTimeS }) =>
          line('%-32s %5s %s', name, domid, duration(upTimeS, true)),
        );
        return line('%-33s %4s %s', 'Name', 'ID', 'Uptime') + rows.join('');
      },
    );
  },
});

export const vmList = command({
  name: 'vm-list',
  group: 'domain',
  summary: 'List the guests with their uuids',
  json: true,
  async run({ xend, show }) {
    const guests = (await xend.call('GET /domains', {})).filter(({ domid }) => domid !== 0);
    show(
      guests.map(({ uuid, domid, name }) => ({ uuid, domid, name })),
      () =>
        'UUID                                  ID    name\n' +
        guests.map(({ uuid, domid, name }) => line('%s  %-5d %s', uuid, domid, name)).join(''),
    );
  },
});
