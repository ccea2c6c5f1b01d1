/**
 * Makes a mismatching case plainer: registers, vectors, flags and memory are cleared one after the other as long as the same
 * fields still differ.
 */
import { describeCase } from './compare.ts';
import { judgeOutcomes, type Mismatch, strayed } from './fuzz.ts';
import { CASE, FX } from './layout.ts';
import type { Oracle } from './oracle.ts';
import type { Subject } from './subject.ts';

type Change = (record: Uint8Array, view: DataView) => void;

function changes(): Change[] {
  const list: Change[] = [];
  const zero =
    (at: number, length: number): Change =>
    (record) =>
      void record.fill(0, at, at + length);
  for (let x = 0; x < 16; x++) list.push(zero(CASE.fx + FX.xmm + 16 * x, 16));
  for (let st = 0; st < 8; st++) list.push(zero(CASE.fx + FX.st + 16 * st, 16));
  for (let reg = 0; reg < 16; reg++) list.push(zero(CASE.gpr + 8 * reg, 8));
  for (const at of [CASE.fsBase, CASE.gsBase]) list.push(zero(at, 8));
  list.push((_, view) => view.setUint32(CASE.rflags, 0x202, true));
  list.push((_, view) => view.setUint32(CASE.fx + FX.mxcsr, 0x1f80, true));
  list.push((_, view) => view.setUint16(CASE.fx + FX.fcw, 0x37f, true));
  list.push((_, view) => view.setUint16(CASE.fx + FX.fsw, 0, true));
  for (let p = 0; p < CASE.patches; p++) {
    for (let at = 0; at < CASE.patchMax; at += 4) list.push(zero(CASE.patch + p * CASE.patchSize + 8 + at, 4));
  }
  return list;
}

export async function shrink(mismatch: Mismatch, oracle: Oracle, subject: Subject): Promise<Mismatch> {
  let best = mismatch;
  const fields = mismatch.differences.map(({ field }) => field).join();
  for (const change of changes()) {
    const record = best.record.slice();
    change(record, new DataView(record.buffer));
    if (record.every((byte, i) => byte === best.record[i])) continue;
    const ours = await subject.run(record, 1);
    const differences = judgeOutcomes(record, await oracle.run(record, 1), ours, 0);
    if (await strayed(ours, 0, oracle)) continue;
    if (differences.map(({ field }) => field).join() !== fields) continue;
    best = { ...mismatch, record, differences, state: describeCase(record, 0) };
  }
  return best;
}
