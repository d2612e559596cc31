//! The traits through which the engine reaches the world. They belong to their caller: an
//! implementation lives in `store`, `worker`, `link` or the binary and knows nothing of the engine.

pub mod clock;
pub mod constraint;
pub mod dispatch;
pub mod sensor;
pub mod store;
