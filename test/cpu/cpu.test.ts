/**
 * Our engines against the CPU of this machine: a short run with a fixed seed. scripts/cpu-fuzz.ts is the long one.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { SEMANTICS } from '../../src/translate/semantics/index.ts';
import { ROWS } from '../../src/x86/opcodes/index.ts';
import { blockForm } from './blocks.ts';
import { type Form, formsOf } from './forms.ts';
import { fuzz, judgeOutcomes, type Mismatch, strayed } from './fuzz.ts';
import { HostSubject } from './host-subject.ts';
import { CASE, CODE_OFFSET, COMPLETED, DATA_OFFSET, ENDLESS, FX, LOW_BASE, OUTCOME, SYSCALL } from './layout.ts';
import { Oracle, oracleMissing } from './oracle.ts';
import { SHARED } from './stub.ts';
import type { Subject } from './subject.ts';
import { SUBJECTS } from './subjects.ts';

const SEED = 20041105;
const GPR = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4 };
const missing = oracleMissing();

/**
 * Features that the engine is still getting: what their instructions lack or do wrong is shown, not failed. Take a feature out
 * as soon as it is complete.
 */
const LATER = ['x87'];
const isLater = ({ row }: Form): boolean => LATER.some((flag) => row.flags.includes(flag));
const mnemonics = (forms: readonly Form[]): string => [...new Set(forms.map(({ row }) => row.mnemonic))].join(' ');

/** One case in plain state: code at LOW_BASE, named registers, the rest 0. */
function plainCase(code: number[], registers: Partial<Record<keyof typeof GPR, bigint>> = {}): Uint8Array {
  const record = new Uint8Array(CASE.size);
  const view = new DataView(record.buffer);
  for (const [name, value] of Object.entries(registers)) {
    view.setBigUint64(CASE.gpr + 8 * GPR[name as keyof typeof GPR], value, true);
  }
  view.setUint32(CASE.rip, LOW_BASE + CODE_OFFSET, true);
  view.setUint32(CASE.rflags, 0x202, true);
  view.setUint16(CASE.fx + FX.fcw, 0x37f, true);
  view.setUint32(CASE.fx + FX.mxcsr, 0x1f80, true);
  view.setUint32(CASE.codeLength, code.length, true);
  record.set(code, CASE.code);
  return record;
}

/** What went wrong, ready to read, with the command that repeats it. */
function story(mismatches: readonly Mismatch[], tier: string, options = ''): string {
  return mismatches
    .slice(0, 10)
    .map(({ form, round, bytes, differences }) => {
      const fields = differences.map(({ field, host, ours }) => `${field}: host ${host}, ours ${ours}`).join('; ');
      const again = `scripts/cpu-fuzz.ts --tier ${tier} --seed ${SEED} --only '${form.key}' --round ${round} --cases 1${options}`;
      return `${Buffer.from(bytes).toString('hex')} ${form.row.mnemonic}: ${fields}\n  ${again}`;
    })
    .join('\n');
}

describe('the CPU of this machine as judge', { skip: missing ?? false }, () => {
  const oracle = new Oracle();
  after(() => oracle.close());
  const run = async (record: Uint8Array): Promise<DataView> => new DataView((await oracle.run(record, 1)).buffer);

  test('add sets CF, PF, AF and ZF when the sum wraps to zero', async () => {
    const outcome = await run(plainCase([0x01, 0xc1], { rax: 1n, rcx: 0xffff_ffffn })); // add ecx, eax
    assert.equal(outcome.getUint32(OUTCOME.vector, true), COMPLETED);
    assert.equal(outcome.getBigUint64(OUTCOME.gpr + 8 * GPR.rcx, true), 0n);
    assert.equal(outcome.getUint32(OUTCOME.rflags, true) & 0x8d5, 0x55);
    assert.equal(outcome.getUint32(OUTCOME.rip, true), LOW_BASE + CODE_OFFSET + 2);
  });

  test('a store is found in data memory, and the next case does not see it', async () => {
    const store = plainCase([0x88, 0x08], { rax: BigInt(LOW_BASE + DATA_OFFSET + 0x123), rcx: 0x5an }); // mov [rax], cl
    const stored = await run(store);
    assert.equal(stored.getUint32(OUTCOME.memoryLow, true), 0x123);
    assert.equal(stored.getUint32(OUTCOME.memoryHigh, true), 0x124);
    assert.equal(stored.getUint8(OUTCOME.memory), 0x5a);
    const after = await run(plainCase([0x90]));
    assert.equal(after.getUint32(OUTCOME.memoryHigh, true), 0);
  });

  test('faults come back with vector, error code and address', async () => {
    const division = await run(plainCase([0xf7, 0xf1])); // div ecx
    assert.equal(division.getUint32(OUTCOME.vector, true), 0);
    const readOnly = BigInt(LOW_BASE + DATA_OFFSET + 0x2000);
    const write = await run(plainCase([0x88, 0x08], { rax: readOnly }));
    assert.equal(write.getUint32(OUTCOME.vector, true), 14);
    assert.equal(write.getUint32(OUTCOME.errorCode, true), 7);
    assert.equal(write.getBigUint64(OUTCOME.cr2, true), readOnly);
    const nonCanonical = await run(plainCase([0x8b, 0x08], { rax: 0x1234_0000_0000_0000n })); // mov ecx, [rax]
    assert.equal(nonCanonical.getUint32(OUTCOME.vector, true), 13);
    const invalid = await run(plainCase([0x0f, 0x0b])); // ud2
    assert.equal(invalid.getUint32(OUTCOME.vector, true), 6);
  });

  test('a system call in a case is caught before it does anything', async () => {
    const outcome = await run(plainCase([0x0f, 0x05], { rax: 60n })); // syscall: exit
    assert.equal(outcome.getUint32(OUTCOME.vector, true), SYSCALL);
  });

  test('a case that never ends costs the process, and the next case has a new one', async () => {
    const forever = await run(plainCase([0xeb, 0xfe])); // jmp to itself
    assert.equal(forever.getUint32(OUTCOME.vector, true), ENDLESS);
    const next = await run(plainCase([0x90]));
    assert.equal(next.getUint32(OUTCOME.vector, true), COMPLETED);
  });

  test('a case that strays to memory of the oracle itself is told from one that differs', async () => {
    const subject = SUBJECTS.t0!.make();
    const nothing = BigInt(LOW_BASE);
    for (const [address, expected] of [
      [BigInt(SHARED), { differs: true, strays: true }],
      [nothing, { differs: false, strays: false }],
    ] as const) {
      const record = plainCase([0x8b, 0x08], { rax: address }); // mov ecx, [rax]
      const ours = await subject.run(record, 1);
      const differs = judgeOutcomes(record, await oracle.run(record, 1), ours, 0).length > 0;
      assert.deepEqual({ differs, strays: await strayed(ours, 0, oracle) }, expected);
    }
    subject.close();
    assert.equal(await oracle.owns(BigInt(LOW_BASE + DATA_OFFSET)), false, 'a page of the case');
  });

  test('the oracle gives the same outcome twice, for every form', async () => {
    const host = new HostSubject();
    const report = await fuzz({ seed: SEED, cases: formsOf().forms.length, oracle, subject: host });
    host.close();
    assert.equal(story(report.mismatches, 'host'), '');
  });

  test('a subject that is wrong in one flag of one instruction is found', async () => {
    const host = new HostSubject();
    const wrong: Subject = {
      name: 'wrong',
      detail: () => undefined,
      close: () => host.close(),
      async run(cases, count) {
        const outcomes = await host.run(cases, count);
        for (let i = 0; i < count; i++) {
          const or = cases[i * CASE.size + CASE.code] === 0x0c; // or al, imm8
          if (or) outcomes[i * OUTCOME.size + OUTCOME.rflags]! ^= 1;
        }
        return outcomes;
      },
    };
    const forms = formsOf().forms.filter(({ row }) => /^0[4C] /.test(row.encoding));
    const report = await fuzz({ seed: SEED, cases: 100, oracle, subject: wrong, forms });
    wrong.close();
    assert.deepEqual(
      report.mismatches.map(({ form, differences }) => [form.row.mnemonic, differences.map(({ field }) => field)]),
      [['or', ['flags (CF)']]],
    );
  });

  test('every opcode row is compared or excluded with a reason', () => {
    const { forms, excluded } = formsOf();
    const known = new Set([...forms.map(({ row }) => row), ...excluded.map(({ row }) => row)]);
    assert.deepEqual(
      ROWS.filter((row) => !known.has(row)).map(({ encoding, mnemonic }) => `${encoding} ${mnemonic}`),
      [],
    );
  });

  for (const [tier, cases] of [
    ['t0', 4000],
    ['t1', 2500],
  ] as const) {
    test(`${tier} does what the CPU does with several instructions in a row (seed ${SEED})`, async () => {
      const subject = SUBJECTS[tier]!.make();
      const report = await fuzz({ seed: SEED, cases, oracle, subject, forms: [blockForm()] });
      subject.close();
      assert.equal(story(report.mismatches, tier), '');
    });
  }

  for (const tier of ['t0', 't1'] as const) {
    test(`${tier} does what the CPU does with every form amid control flow (seed ${SEED})`, async (context) => {
      const subject = SUBJECTS[tier]!.make();
      const { forms } = formsOf();
      const translatable = forms.filter(({ row }) => tier !== 't0' && SEMANTICS[row.mnemonic] !== undefined);
      let missed: readonly Form[] = translatable;
      let chosen: readonly Form[] = forms;
      // A program whose first instruction lies across pages becomes no region: its form has another turn.
      for (let firstRound = 0; firstRound < 3 && chosen.length > 0; firstRound++) {
        const turn = { seed: SEED, forms: chosen, cases: chosen.length, firstRound, flow: true };
        const report = await fuzz({ ...turn, oracle, subject });
        const wrong = report.mismatches.filter(({ form }) => !isLater(form));
        assert.equal(story(wrong, tier, ' --flow'), '');
        missed = missed.filter((form) => report.coverage.get(form)?.translated === 0);
        chosen = missed;
      }
      subject.close();
      if (tier === 't0') return;
      context.diagnostic(
        `${translatable.length - missed.length} of ${forms.length} forms ran in regions; TypeScript performs ${forms.length - translatable.length}`,
      );
      assert.equal(mnemonics(missed), '', 'instructions that no region had');
    });
  }

  for (const [tier, cases] of [
    ['t0', 14_000],
    ['step', 6_000],
    ['t1', 2_500],
  ] as const) {
    test(`${tier} does what the CPU does (${cases} cases, seed ${SEED})`, async (context) => {
      const subject = SUBJECTS[tier]!.make();
      const report = await fuzz({ seed: SEED, cases, oracle, subject });
      subject.close();
      const without = [...report.coverage]
        .filter(([, { unsupported }]) => unsupported !== undefined)
        .map(([form]) => form);
      const wrong = report.mismatches.map(({ form }) => form);
      for (const [known, count] of report.known) {
        context.diagnostic(`known, ${count} times: ${known.mnemonics.join(', ')}: ${known.about}`);
      }
      if (without.length > 0)
        context.diagnostic(`${without.length} forms have no semantics yet: ${mnemonics(without)}`);
      if (wrong.length > 0) context.diagnostic(`${wrong.length} forms differ: ${mnemonics(wrong)}`);
      assert.equal(
        story(
          report.mismatches.filter(({ form }) => !isLater(form)),
          tier,
        ),
        '',
      );
      assert.equal(mnemonics(without.filter((form) => !isLater(form))), '', 'instructions without semantics');
    });
  }
});
