//! Generates the bindings in `src/generated` from the `.proto` files.

#[path = "../codegen/mod.rs"]
mod codegen;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    codegen::generate(&codegen::checked_in())
}
