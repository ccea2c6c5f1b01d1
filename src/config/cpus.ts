/** Which CPUs of this machine: `all`, `0-3,5,^1` and lists of these, as `cpus =` and `xm vcpu-pin` have them (xm-xend 2.8). */
import { ConfigError } from './config-error.ts';

const CPU_MAX = 4095;

/** CPU numbers in order; none means any. `online` is what `^1` alone leaves one out of. */
export function parseCpus(text: string, online: readonly number[]): number[] {
  const wrong = (part: string): never => {
    throw new ConfigError(`Invalid value: ${text}: ${part || 'nothing'} is no CPU (0-3,5,^1 or all is wanted)`);
  };
  if (/^(all|any|-1)$/i.test(text.trim())) return [];
  const parts = text.split(',').map((part) => part.trim());
  const chosen = new Set(parts.every((part) => part.startsWith('^')) ? online : []);
  for (const part of parts) {
    const [, not, from, to = from] = /^(\^?)\s*(\d+)(?:\s*-\s*(\d+))?$/.exec(part) ?? wrong(part);
    if (Number(to) > CPU_MAX || Number(to) < Number(from)) wrong(part);
    for (let cpu = Number(from); cpu <= Number(to); cpu++) {
      if (not) chosen.delete(cpu);
      else chosen.add(cpu);
    }
  }
  if (chosen.size === 0) throw new ConfigError(`Invalid value: ${text}: no CPU is left`);
  return [...chosen].sort((a, b) => a - b);
}

/** `0-3,5`, or `any cpu` as xm says. */
export function printCpus(cpus: readonly number[], any = 'any cpu'): string {
  if (cpus.length === 0) return any;
  const runs: [from: number, to: number][] = [];
  for (const cpu of cpus) {
    const last = runs.at(-1);
    if (last && last[1] === cpu - 1) last[1] = cpu;
    else runs.push([cpu, cpu]);
  }
  return runs.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(',');
}
