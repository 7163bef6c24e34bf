//! What lifesign promises, tried.
