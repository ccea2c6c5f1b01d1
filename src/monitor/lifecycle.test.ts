import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DomainEvent, nextState, stateLetters, TRANSITIONS } from './lifecycle.ts';

test('every state but dead can be destroyed, and dead is the end', () => {
  for (const state of Object.keys(TRANSITIONS) as (keyof typeof TRANSITIONS)[]) {
    assert.equal(nextState(state, 'destroy'), state === 'dead' ? undefined : 'dead');
  }
  for (const event of ['built', 'unpause', 'pause', 'guestExit', 'rebuild'] as DomainEvent[]) {
    assert.equal(nextState('dead', event), undefined);
  }
});

test('a domain that is shut down can be built again but not unpaused', () => {
  assert.equal(nextState('shutdown', 'rebuild'), 'building');
  assert.equal(nextState('shutdown', 'unpause'), undefined);
});

test('the letters of xm list', () => {
  assert.equal(stateLetters('running', true, false), 'r----');
  assert.equal(stateLetters('running', false, false), '-b---');
  assert.equal(stateLetters('paused', false, false), '--p--');
  assert.equal(stateLetters('shutdown', false, false), '---s-');
  assert.equal(stateLetters('shutdown', false, true), '----c');
});
