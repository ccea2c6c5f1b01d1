/** Looks at all domains again and again: what each used of the CPU between two looks. */
import type { NodeInfo } from '../../xend/node-info.ts';
import type { DomainView } from '../../xend/view.ts';
import type { Row } from './columns.ts';

export interface Look {
  readonly domains: readonly DomainView[];
  readonly node: NodeInfo;
  readonly atMs: number;
}

export class Sampler {
  #before: { readonly cpuTimeS: ReadonlyMap<string, number>; readonly atMs: number } | undefined;

  /** The first look has nothing to compare with: its percentages are 0. */
  rows({ domains, node, atMs }: Look, fullNames: boolean): Row[] {
    const before = this.#before;
    this.#before = { cpuTimeS: new Map(domains.map(({ uuid, cpuTimeS }) => [uuid, cpuTimeS])), atMs };
    const seconds = before ? (atMs - before.atMs) / 1000 : 0;
    return domains.map((domain) => {
      const used = domain.cpuTimeS - (before?.cpuTimeS.get(domain.uuid) ?? domain.cpuTimeS);
      // A rebooted domain counts from zero again.
      return { domain, node, fullNames, cpuPercent: seconds > 0 ? (Math.max(0, used) / seconds) * 100 : 0 };
    });
  }
}
