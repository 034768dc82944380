export {
  canonicalText,
  type LabelTestNode,
  type LeafNode,
  type SelectorNode,
  type SetOperator,
  type ValueOperator,
} from "./ast.ts";
export { MAX_LABEL_LENGTH } from "./lexer.ts";
export { MAX_SELECTOR_DEPTH } from "./parser.ts";
export { isUnsatisfiable, type LabelRestriction, type LabelRestrictions } from "./restrictions.ts";
export {
  andSelectors,
  notSelector,
  parseComposedSelector,
  parseSelector,
  prefixLabels,
  Selector,
  type LabelGetter,
  type LabelPrefixOptions,
  type Labels,
} from "./selector.ts";
