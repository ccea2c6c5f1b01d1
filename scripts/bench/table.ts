/** The table of programs as lines of text, for the terminal. */
import type { ProgramRow } from './compare.ts';
import { type Figure, ratio } from './ratios.ts';
import type { SubjectName } from './subject.ts';

// biome-ignore format: a table
export const TITLES: Readonly<Record<SubjectName, string>> = {
  native: 'native', domus: 'Domus', qemu: 'QEMU TCG', uml: 'UML', v86: 'v86',
};
const COMPARED: readonly SubjectName[] = ['native', 'qemu', 'uml', 'v86'];

export const milliseconds = (value: number): string => value.toFixed(value >= 100 ? 0 : 1);
export const ratioText = (value: number): string => value.toFixed(value >= 10 ? 1 : 2);

export function tableHead(subjects: readonly SubjectName[]): string {
  const times = subjects.map((name) => TITLES[name].padStart(10));
  const ratios = COMPARED.filter((name) => subjects.includes('domus') && subjects.includes(name));
  return ['ms'.padEnd(12), ...times, ...ratios.map((name) => `/${TITLES[name]}`.padStart(10))].join('');
}

export function tableLine(row: ProgramRow, subjects: readonly SubjectName[]): string {
  const times = subjects.map((name) => {
    const ms = row.ms[name];
    return (ms === undefined ? (row.wrong[name] === undefined ? '-' : 'WRONG') : milliseconds(ms)).padStart(10);
  });
  const ratios = COMPARED.filter((name) => subjects.includes('domus') && subjects.includes(name)).map((name) => {
    const value = ratio(row, name);
    return (value === undefined ? '-' : ratioText(value)).padStart(10);
  });
  const cpu = Object.entries(row.cpuMs).map(([name, ms]) => `${name} ${milliseconds(ms)}`);
  const { domus, qemu } = row.cpuMs;
  if (domus !== undefined && qemu !== undefined) cpu.push(`domus/qemu ${ratioText(domus / qemu)}`);
  return [row.id.padEnd(12), ...times, ...ratios, cpu.length > 0 ? `   cpu: ${cpu.join(', ')}` : ''].join('');
}

export function figureLine({ target, value, first, rows, worst }: Figure): string {
  const { what, of, limit, aim } = target;
  const verdict = value <= aim ? 'aim reached' : value <= limit ? 'reached' : 'MISSED';
  const detail = of === 'mean' ? `geometric mean of ${rows}, worst ${worst}` : worst;
  const firstTime = first === undefined ? '' : `, the first time ${ratioText(first)}`;
  return `${what.padEnd(34)}${ratioText(value).padStart(7)}${firstTime}   must ${limit}, aim ${aim}: ${verdict} (${detail})`;
}
