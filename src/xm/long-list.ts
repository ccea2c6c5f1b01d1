/**
 * `xm list -l` as text: the SXP of Xen 2.0, with the number of the domain's state that Xen's lists have had since 3.0.4.
 * Programs that read lines and not SXP look for the one line with the word `status` and take its first two words, which must
 * be that number; in Xen 2.0 the word is the console's. So both stand on one line: who reads SXP finds the one and the other.
 */
import { domainSxp } from '../config/domain-sxp.ts';
import { printPretty, type Sxp } from '../config/sxp.ts';
import type { DomainView } from '../xend/view.ts';

/** XEN_API_VM_POWER_STATE of Xen 3 and 4. */
const POWER = { halted: 0, paused: 1, running: 2, crashed: 4 } as const;

function power({ state, letters }: DomainView): number {
  if (letters.includes('c')) return POWER.crashed;
  if (state === 'running') return POWER.running;
  return state === 'paused' || state === 'building' ? POWER.paused : POWER.halted;
}

export function longText(domain: DomainView): string {
  const rows = domainSxp(domain) as readonly Sxp[];
  const status: Sxp = ['status', power(domain)];
  const console = rows.findIndex((row) => Array.isArray(row) && row[0] === 'console');
  const at = console < 0 ? rows.length : console;
  const text = printPretty([...rows.slice(0, at), status, ...rows.slice(at)]);
  return text.replace(/(\(status \d\))\s+\(console\s+(?=\(status )/, '$1 (console ');
}
