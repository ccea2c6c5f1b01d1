import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atomic, F64, I32, I64, i32, i64big, lane, load64, load128, select, shuffle, simd } from './expr.ts';
import { call, ModuleBuilder } from './module.ts';
import { printFunction } from './print.ts';

test('a function is printed an instruction a line, indented by its blocks', () => {
  const m = new ModuleBuilder();
  m.importMemory(1, 1);
  m.importTable();
  const now = m.importFunction('now', [], [F64]);
  const type = m.typeIndex([I32], [I32]);
  m.function(
    [I32],
    [I32],
    (f) => {
      const sum = f.local(I64);
      f.set(sum, load64(f.param(0), 8).add(i64big(0x1122334455667788n)));
      f.loop((again) => {
        f.if(
          sum.eqz(),
          () => f.drop(call(now)),
          () => f.store32(f.param(0), select(f.param(0), i32(-1), i32(2)), 4),
        );
        f.brIf(again, atomic.add32(f.param(0), i32(1)));
      });
      f.store128(
        f.param(0),
        simd('i32x4.add', load128(f.param(0), 16), shuffle(load128(i32(0)), load128(i32(0)), new Array(16).fill(3))),
      );
      f.drop(lane('i32x4.extract_lane', 2, load128(i32(0))));
      f.drop(load64(i32(0)).asF64().satI32());
      f.returnCallIndirect(type, i32(5), f.param(0));
    },
    'it',
  );
  const module = m.finish();
  assert.doesNotThrow(() => new WebAssembly.Module(module));
  assert.deepEqual(printFunction(module, 'it'), [
    '(local 1 i64)',
    ...['local.get 0', 'i64.load offset=8', 'i64.const 0x1122334455667788', 'i64.add', 'local.set 1'],
    'loop',
    ...['local.get 1', 'i64.eqz', 'if', '  call $now', '  drop', 'else'].map((line) => `  ${line}`),
    ...['local.get 0', 'i32.const -1', 'i32.const 2', 'local.get 0', 'select', 'i32.store offset=4'].map(
      (line) => `    ${line}`,
    ),
    ...['end', 'local.get 0', 'i32.const 1', 'i32.atomic.rmw.add', 'br_if 0'].map((line) => `  ${line}`),
    'end',
    ...['local.get 0', 'local.get 0', 'v128.load offset=16', 'i32.const 0', 'v128.load', 'i32.const 0', 'v128.load'],
    ...['i8x16.shuffle 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3', 'i32x4.add', 'v128.store'],
    ...['i32.const 0', 'v128.load', 'i32x4.extract_lane 2', 'drop'],
    ...['i32.const 0', 'i64.load', 'f64.reinterpret_i64', 'i32.trunc_sat_f64_s', 'drop'],
    ...['local.get 0', 'i32.const 5', 'return_call_indirect (type 1)'],
  ]);
});

test('a function that is not exported has no lines', () => {
  assert.deepEqual(printFunction(new ModuleBuilder().finish(), 'it'), []);
});
