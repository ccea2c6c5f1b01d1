import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { ROUTES } from '../routes.ts';
import { docsPage } from './docs-page.ts';
import { openApi } from './openapi.ts';

test('the document is OpenAPI 3.1', async () => {
  const validator = new Validator();
  const { valid, errors } = await validator.validate(openApi());
  assert.ok(valid, JSON.stringify(errors, null, 1));
  assert.equal(validator.version, '3.1');
});

test('every row of the table is in it, with its parameters and its body', () => {
  const { paths } = openApi() as { paths: Record<string, Record<string, { parameters?: { name: string }[] }>> };
  for (const [name, row] of Object.entries(ROUTES)) {
    const [method, template] = name.split(' ') as [string, string];
    const found = paths[template.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()];
    assert.ok(found, name);
    const text = JSON.stringify(found);
    for (const key of Object.keys(row.input.properties)) assert.ok(text.includes(`"${key}"`), `${name}: ${key}`);
  }
});

test('every reference leads somewhere', () => {
  const document = openApi();
  for (const [, pointer] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    let at: unknown = document;
    for (const key of pointer!.split('/')) at = (at as Record<string, unknown>)?.[key];
    assert.ok(at, pointer);
  }
});

test('the page names every request and every value, and loads nothing', () => {
  const page = docsPage();
  for (const name of Object.keys(ROUTES)) assert.ok(page.includes(`${name.replace(/:(\w+)/g, '{$1}')}<`), name);
  for (const [, target] of page.matchAll(/href="#([^"]+)"/g)) assert.ok(page.includes(`id="${target}"`), target);
  assert.doesNotMatch(page, /<script|src=|https?:/);
});
