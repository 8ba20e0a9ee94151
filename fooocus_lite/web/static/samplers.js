// Samplers and schedules: what the form shows for a pair, and what earlier versions called them.

import { state } from "./store.js";

const row = (list, id) => list?.find((one) => one.id === id);

/** How few steps the sampler takes, as an update of that field. */
export function stepsFor({ sampler, steps }) {
  const least = row(state.menu?.samplers, sampler)?.min_steps ?? 1;
  return { __type__: "update", minimum: least, value: Math.max(least, steps) };
}

/** The schedule, and what "auto" is with the sampler, as an update of that field. */
export function scheduleFor({ sampler, scheduler }) {
  const usual = row(state.menu?.schedulers, row(state.menu?.samplers, sampler)?.scheduler);
  return { __type__: "update", value: scheduler || "auto", info: usual ? `Auto is ${usual.label}.` : "" };
}

/** A draft, preset or picture whose sampler's name said its schedule too. */
export function paired(draft, menu = state.menu) {
  const pair = menu?.former_samplers[draft.sampler];
  if (!pair) return draft;
  const isOpen = !draft.scheduler || draft.scheduler === "auto";
  return { ...draft, ...pair, scheduler: isOpen ? pair.scheduler : draft.scheduler };
}

/** As a person reads it: "DPM++ 2M · Karras". */
export function samplerWords({ sampler, scheduler } = {}, menu = state.menu) {
  const { sampler: ours, scheduler: schedule } = paired({ sampler, scheduler }, menu);
  const names = [row(menu?.samplers, ours)?.label || ours, row(menu?.schedulers, schedule)?.label || schedule];
  return names.filter(Boolean).join(" · ");
}
