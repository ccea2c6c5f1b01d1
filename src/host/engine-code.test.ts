/** Generated code that is kept in files: found again, and not believed when it is damaged. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { planLayout } from '../hypervisor/memory.ts';
import { shapeKey } from '../translate/interpreter/shape.ts';
import { ARMS, COMMON, engineCode, forgetEngineCode } from './engine-code.ts';

const layout = planLayout(512, 1);

test('code is made once, found again by the next process, and made anew when its file is damaged', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'engine-code-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const kept = path.join(folder, 'kept');
  forgetEngineCode();
  const first = engineCode(layout, 7, { folder: kept });
  assert.equal(engineCode(layout, 7, { folder: kept }), first);
  const [name, ...more] = readdirSync(kept);
  assert.deepEqual(more, []);
  const file = path.join(kept, name!);
  const whole = readFileSync(file);

  forgetEngineCode();
  const second = engineCode(layout, 7, { folder: kept });
  assert.notEqual(second, first);
  assert.deepEqual(second, first);
  for (const { length } of [whole.subarray(0, 20), whole.subarray(0, whole.length - 1)]) {
    writeFileSync(file, whole.subarray(0, length));
    forgetEngineCode();
    assert.deepEqual(engineCode(layout, 7, { folder: kept }), first);
  }
  const flipped = Buffer.from(whole);
  flipped[whole.length >> 1]! ^= 1;
  writeFileSync(file, flipped);
  forgetEngineCode();
  assert.deepEqual(engineCode(layout, 7, { folder: kept }), first);
  assert.deepEqual(readFileSync(file), whole, 'the damaged file is replaced');
});

test('no more files are kept than a few', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'engine-code-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (let i = 0; i < 30; i++) writeFileSync(path.join(folder, `${i}.code`), 'old');
  forgetEngineCode();
  engineCode(layout, 8, { folder });
  assert.equal(readdirSync(folder).length, 16);
});

test('every example has a shape of its own', () => {
  const all = [...ARMS, ...COMMON].map(shapeKey);
  assert.equal(new Set(all).size, all.length);
  assert.ok(COMMON.length > 300);
});
